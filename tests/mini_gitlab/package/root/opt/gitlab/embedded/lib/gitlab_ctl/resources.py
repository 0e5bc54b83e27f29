# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few kinds of resources that reconfigure converges, reported the way Chef's formatter does.

Each method brings one thing of the host into its wanted state, prints one line, and returns whether it had to change it.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import typing as t
from pathlib import Path

Say = t.Callable[[str], None]


class ResourceError(Exception):
    """A resource could not be brought into its state.

    :ivar resource: its name, for example ``execute[initialize PostgreSQL]``.
    :ivar action: what was tried, for example ``run``.
    """

    def __init__(self, resource: str, action: str, error_class: str, message: str) -> None:
        super().__init__(message)
        self.resource = resource
        self.action = action
        self.error_class = error_class


class Converge:
    """One run: applies resources in the order of the calls and keeps the count for the closing line."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.total = 0
        self.updated = 0
        self._delayed: dict[str, t.Callable[[], None]] = {}

    def recipe(self, name: str) -> None:
        self.say(f"Recipe: {name}")

    def record(self, resource: str, action: str, *changes: str) -> bool:
        """Count and print a resource; `changes` are what had to be done, nothing meaning up to date."""
        self.total += 1
        if not changes:
            self.say(f"  * {resource} action {action} (up to date)")
            return False
        self.updated += 1
        self.say(f"  * {resource} action {action}")
        for change in changes:
            self.say(f"    - {change}")
        return True

    def notify_delayed(self, key: str, action: t.Callable[[], None]) -> None:
        """Run `action` once at the end of the run, however often `key` is notified."""
        self._delayed.setdefault(key, action)

    def run_delayed(self) -> None:
        while self._delayed:
            self._delayed.pop(next(iter(self._delayed)))()

    def user(self, name: str, home: Path, shell: str) -> bool:
        """A system account with a group of the same name."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            argv = [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                str(home),
                "--shell",
                shell,
                name,
            ]
            self._call(f"user[{name}]", "create", argv)
            return self.record(f"user[{name}]", "create", f"create user {name}")
        return self.record(f"user[{name}]", "create")

    def directory(self, path: Path, owner: str = "root", mode: int = 0o755, group: str | None = None) -> bool:
        changes = []
        if not path.is_dir():
            path.mkdir(parents=True)
            changes.append(f"create new directory {path}")
        changes += _own(path, owner, group or owner, mode)
        return self.record(f"directory[{path}]", "create", *changes)

    def template(
        self, path: Path, content: str, owner: str = "root", mode: int = 0o644, group: str | None = None
    ) -> bool:
        changes = []
        known = path.read_text(encoding="utf-8") if path.exists() else None
        if known != content:
            changes.append(f"{'create new file' if known is None else 'update content in file'} {path}")
            fresh = path.with_name(path.name + ".fresh")
            with os.fdopen(
                os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as stream:
                stream.write(content)
            fresh.replace(path)
        changes += _own(path, owner, group or owner, mode)
        return self.record(f"template[{path}]", "create", *changes)

    def link(self, path: Path, target: Path) -> bool:
        if path.is_symlink() and os.readlink(path) == str(target):
            return self.record(f"link[{path}]", "create")
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        return self.record(f"link[{path}]", "create", f"create symlink at {path} to {target}")

    def execute(self, name: str, argv: t.Sequence[str], unless: bool = False) -> bool:
        """Run a command where `unless` does not already hold.

        :raises ResourceError: it exits non-zero.
        """
        resource = f"execute[{name}]"
        if unless:
            self.total += 1
            self.say(f"  * {resource} action run (skipped due to not_if)")
            return False
        self._call(resource, "run", argv)
        return self.record(resource, "run", "execute " + " ".join(argv))

    def _call(self, resource: str, action: str, argv: t.Sequence[str]) -> None:
        answer = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, cwd="/")
        if answer.returncode != 0:
            text = shell_out_error(" ".join(argv), answer.returncode, answer.stdout, answer.stderr)
            raise ResourceError(resource, action, "Mixlib::ShellOut::ShellCommandFailed", text)


def shell_out_error(command: str, code: int, stdout: str, stderr: str) -> str:
    """The text of Mixlib::ShellOut::ShellCommandFailed for a command that ended with `code` (facts 5.5)."""
    return "\n".join(
        (
            f"Expected process to exit with [0], but received '{code}'",
            f"---- Begin output of {command} ----",
            f"STDOUT: {stdout.strip()}",
            f"STDERR: {stderr.strip()}",
            f"---- End output of {command} ----",
            f"Ran {command} returned {code}",
        )
    )


def _own(path: Path, owner: str, group: str, mode: int) -> list[str]:
    changes = []
    status = path.stat()
    uid, gid = pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
        changes.append(f"change owner to '{owner}', group to '{group}'")
    if status.st_mode & 0o7777 != mode:
        path.chmod(mode)
        changes.append(f"change mode from '{status.st_mode & 0o7777:04o}' to '{mode:04o}'")
    return changes
