# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import os
import shlex
import socket

from ansible.errors import AnsibleActionFail

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import (
    Archive,
    Manifest,
    changed_since,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_space import in_bytes
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import look_at
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction, Result
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle

MEBIBYTE = 1024 * 1024
# How much one command brings, in MiB.
PIECE = 32


class ActionModule(LongWorkAction):
    """The controller's side of C(backup_copy): brings the files over and reads their checksums here."""

    MODULE = "gitlab_fleet.upgrade.backup_copy"

    def _steps(self, arguments: Result) -> Result:
        result = self._call_module(arguments)
        dest = arguments.get("dest")
        if result.get("failed") or not dest:
            return result
        folder = os.path.join(os.path.expanduser(dest), self._host, result["manifest"]["id"])
        files = [Archive(**one) for one in result["files"]]
        missing = [one for one in files if changed_since(one, self._here(folder, one))]
        if self._task.check_mode:
            return dict(result, changed=bool(missing or result["changed"]))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for one in missing:
            self._bring(one, self._place(folder, one))
        copied = {"host": socket.gethostname(), "path": self._place(folder, files[0]), "sha256": files[0].sha256}
        noted = self.reach(lambda: self._call_module(dict(arguments, copied=[*arguments.get("copied", []), copied])))
        if not noted.get("failed"):
            target = os.open(os.path.join(folder, "manifest.json"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(target, "w", encoding="utf-8") as file:
                file.write(Manifest.from_dict(noted["manifest"]).to_json())
        return dict(noted, changed=bool(missing or noted.get("changed")))

    def _place(self, folder: str, file: Archive) -> str:
        return os.path.join(folder, os.path.basename(file.path))

    def _here(self, folder: str, file: Archive) -> Archive | None:
        found = look_at(self._place(folder, file), file.size)
        return found and Archive(file.path, found.size, found.sha256)

    def _bring(self, file: Archive, target: str) -> None:
        part = f"{target}.part"
        throttle = Throttle()
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as local:
            os.fchmod(local.fileno(), 0o600)
            # What was brought before is gone on with, in whole pieces.
            place = min(local.seek(0, os.SEEK_END), file.size) // (PIECE * MEBIBYTE) * PIECE
            local.truncate(place * MEBIBYTE)
            local.seek(place * MEBIBYTE)
            while local.tell() < file.size:
                local.write(self.reach(lambda place=place: self._piece(file.path, place)))  # type: ignore[misc]
                place += PIECE
                percent = 100 * local.tell() / file.size
                if throttle.due(file.path, "", percent):
                    self.line(f"copy  {percent:.0f} %  {in_bytes(local.tell())} of {in_bytes(file.size)}  {file.path}")
                if local.tell() < min(place * MEBIBYTE, file.size):
                    break
        found = look_at(part)
        difference = changed_since(file, found and Archive(file.path, found.size, found.sha256))
        if difference:
            os.unlink(part)
            raise AnsibleActionFail(f"The copy {target} is not what was verified: {difference} Run this again.")
        os.replace(part, target)

    def _piece(self, path: str, place: int) -> bytes:
        """Return up to PIECE mebibytes of a file of the host, from the mebibyte ``place`` on."""
        command = f"dd if={shlex.quote(path)} bs={MEBIBYTE} skip={place} count={PIECE} 2>/dev/null | base64"
        answer = self._low_level_execute_command(command)
        try:
            return base64.b64decode("".join(answer["stdout"].split()), validate=True)
        except binascii.Error as error:
            raise AnsibleActionFail(f"{path} cannot be read: {error}; {answer['stderr'].strip()}") from error
