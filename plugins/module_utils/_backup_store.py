# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The manifests of the backups on this host, and whether a backup is still what its manifest says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import typing as t
from datetime import datetime, timezone

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import (
    Archive,
    Manifest,
    changed_since,
    check_id,
    refusals,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import (
    STATE_DIRECTORY,
    read_record,
    write_record,
)

ROOT = f"{STATE_DIRECTORY}/backups"
FILE = "manifest.json"
FORMER_FILE = "former_manifest.json"
RUN_FILE = "run.json"
LOG_FILE = "log"

# How far a backup may be in the past to count as recent, in seconds.
RECENT = 24 * 3600

_CHUNK = 1024 * 1024
_BACKUP = "Make a new one: run the playbook gitlab_fleet.upgrade.backup."


def sha256_of(file: t.IO[bytes]) -> str:
    """Return the checksum of what is left to read of a file."""
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def look_at(path: str, size: int | None = None) -> Archive | None:
    """Return a file with its size and checksum, or None when it is not there.

    With ``size`` a file of another size is not read to its end; its checksum is empty then.

    :raises GitLabError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno()).st_size
            return Archive(path, found, sha256_of(file) if size is None or size == found else "")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise GitLabError(f"Cannot read {path}: {error.strerror}.", "Run as root (become: true).", path=path) from error


class Store:
    """The manifests of this host."""

    def __init__(self, root: str = ROOT) -> None:
        self._root = root

    def path(self, name: str) -> str:
        """Return the path of a backup's manifest."""
        return f"{self._root}/{check_id(name)}/{FILE}"

    def file(self, name: str, file: str) -> str:
        """Return the path of a file beside a backup's manifest."""
        return os.path.join(os.path.dirname(self.path(name)), file)

    def ids(self, file: str = FILE) -> list[str]:
        """Return the ids of all backups that have a manifest, or have ``file``."""
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise GitLabError(f"Cannot read {self._root}: {error.strerror}.", "Run as root (become: true).") from error
        return sorted(name for name in names if os.path.exists(f"{self._root}/{name}/{file}"))

    def read(self, name: str) -> Manifest | None:
        """Return the manifest of a backup, or None when it has none.

        :raises GitLabError: it cannot be read.
        """
        record = read_record(FILE, os.path.dirname(self.path(name)))
        return None if record is None else Manifest.from_dict(record)

    def verified_once(self, name: str) -> Manifest | None:
        """Return the manifest of a backup that was verified once, None without one that can be read."""
        with contextlib.suppress(GitLabError):
            manifest = self.read(name)
            if manifest is not None and manifest.was_verified():
                return manifest
        return None

    def readable(self) -> list[Manifest]:
        """Return the manifests that can be read, the newest backup first."""
        manifests = []
        for name in self.ids():
            with contextlib.suppress(GitLabError):
                manifest = self.read(name)
                if manifest is not None:
                    manifests.append(manifest)
        return sorted(manifests, key=lambda one: one.created_at, reverse=True)

    def write(self, manifest: Manifest) -> str:
        """Write the manifest of a backup and return its path.

        :raises GitLabError: it cannot be written.
        """
        return write_record(FILE, manifest.to_dict(), self.make(manifest.id))

    def put_away(self, name: str) -> None:
        """Put the manifest of a backup aside, since a new archive takes the place of the one that it is of."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path(name), self.file(name, FORMER_FILE))

    def make(self, name: str) -> str:
        """Return the directory of a backup, and make it if need be."""
        directory = os.path.dirname(self.path(name))
        try:
            for each in (os.path.dirname(self._root), self._root, directory):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(each, 0o700)
        except OSError as error:
            raise GitLabError(
                f"Cannot write {directory}: {error.strerror}.",
                "Run as root (become: true) and check the free space there.",
            ) from error
        return directory

    def read_run(self, name: str) -> dict[str, t.Any] | None:
        """Return what the run that made a backup left of itself, or None when this collection did not make it.

        :raises GitLabError: it cannot be read.
        """
        return read_record(RUN_FILE, os.path.dirname(self.path(name)))

    def write_run(self, name: str, run: t.Mapping[str, t.Any]) -> None:
        """Keep what is known of the run that makes a backup.

        :raises GitLabError: it cannot be written.
        """
        write_record(RUN_FILE, run, self.make(name))

    def write_text(self, name: str, file: str, text: str) -> None:
        """Write a file beside a backup's manifest, for root alone as the directory is.

        :raises GitLabError: it cannot be written.
        """
        path = os.path.join(self.make(name), file)
        try:
            with open(path, "w", encoding="utf-8") as target:
                target.write(text)
        except OSError as error:
            raise GitLabError(f"Cannot write {path}: {error.strerror}.", "Make room there.") from error

    def keep_log(self, name: str, *files: str) -> None:
        """Keep the output of the run beside the manifest, as the jobs' archive forgets it sooner."""
        with open(f"{self.make(name)}/{LOG_FILE}", "wb") as target:
            for path in files:
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, target)

    def read_log(self, name: str) -> str | None:
        """Return the output of the run that made a backup, None when there is none."""
        try:
            with open(self.file(name, LOG_FILE), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def forget(self, name: str) -> None:
        """Remove what is kept of a backup; its archive stays."""
        shutil.rmtree(os.path.dirname(self.path(name)), ignore_errors=True)

    def require(
        self,
        name: str | None = None,
        version: str | None = None,
        max_age: int | None = None,
        configuration: bool = False,
    ) -> Manifest:
        """Return the manifest of a backup that can be relied on: verified, and its files are the same as then.

        Without ``name`` the newest verified one is taken. With ``version`` it must be of that version and edition, and
        with ``max_age`` not older than so many seconds. With ``configuration`` its archive of C(/etc/gitlab) counts
        too, which a restore of the data does not need. This reads the archives from end to end.

        :raises GitLabError: there is none, or it cannot be relied on.
        """
        manifest = self.read(name) if name else self.newest_verified()
        if manifest is None:
            missing = f"The backup {name} has no manifest" if name else "There is no verified backup"
            raise GitLabError(f"{missing} in {self._root} on this host.", _BACKUP)
        reasons = refusals(manifest, version, datetime.now(timezone.utc), max_age)
        # Nobody waits for the checksum of what is refused anyway.
        if not reasons:
            archives = (manifest.archive, manifest.configuration if configuration else None)
            reasons = [text for text in map(difference, archives) if text]
        if reasons:
            raise GitLabError(" ".join(reasons), _BACKUP, backup=manifest.id, reasons=reasons)
        return manifest

    def newest_verified(self) -> Manifest | None:
        """Return the manifest of the newest backup that was verified."""
        return next((one for one in self.readable() if one.verified), None)


def difference(recorded: Archive | None) -> str | None:
    """Return how a file differs from what was recorded of it, None when it does not; reads it from end to end.

    :raises GitLabError: it cannot be read.
    """
    return changed_since(recorded, look_at(recorded.path, recorded.size)) if recorded else None
