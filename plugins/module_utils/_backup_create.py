# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Makes a backup as a job. What it is worth is for :mod:`_backup_checks` to say."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_log, _backup_space, _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_live import TABLE_SIZES
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import SUFFIX, check_id
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import (
    CONFIGURATION_BACKUPS,
    STAGED,
    data_paths,
    refuse_directory,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_request import (
    COPY,
    new_id,
    refuse_connection,
    refuse_other_parts,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._direct_connection import read_connections
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_request import Request
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

LOG_BYTES = 64 * 1024 * 1024
LOG_TAIL_BYTES = 8000
SHOWN_FAILURES = 20

# A backup that came to its end while nobody was watching is the one that is asked for now, when it is no older than this.
RESUME_SECONDS = 3600


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the backup goes, and whether the configuration is saved and the free space looked at.

    ``configured`` is the directory that C(gitlab.yml) names: C(gitlab-backup) knows no other way to be told.
    """

    directory: str
    configured: str | None
    configuration: bool
    check_space: bool


class BackupJob(OneJob):
    """One run of C(gitlab-backup create). After the last step C(result) has what it did."""

    name = "gitlab_backup"
    excludes = ("gitlab_restore",)

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        store: Store,
        memory: dict[str, t.Any],
        wanted_id: str | None,
        request: Request,
        place: Place,
        check_mode: bool,
    ) -> None:
        self._instance = instance
        self._store = store
        self._request = request
        self._place = place
        self._id = check_id(wanted_id) if wanted_id else memory.get("id") or self._running_id(jobs)
        memory["id"] = self._id
        installation = instance.installation
        argv = installation.backup("create", request.settings(self._id))
        super().__init__(jobs, memory, argv, installation.working_directory, check_mode)
        self.result: dict[str, t.Any] = {}

    @property
    def archive(self) -> str:
        """The path of the archive."""
        return os.path.join(self._place.directory, f"{self._id}{SUFFIX}")

    def _running_id(self, jobs: Jobs) -> str:
        job = jobs.find(self.name)
        if job is not None and job.note and (job.status == RUNNING or _is_recent(job)):
            former: str = job.note["id"]
            if job.argv == tuple(self._instance.installation.backup("create", self._request.settings(former))):
                return former
        return new_id(str(self._instance.version), time.time())

    def counts(self, job: Job) -> bool:
        return job.argv == tuple(self._argv) and _is_recent(job)

    def prepare(self) -> tuple[bool, t.Any]:
        _rolling_back.refuse()
        done = self._store.read_run(self._id)
        if os.path.exists(self.archive):
            if done and not done.get("error") and done.get("archive") == self.archive:
                refuse_other_parts(self._request, self._id, done.get("skipped", ()))
                age = in_words(time.time() - os.stat(self.archive).st_mtime)
                self.notes.append(f"The backup {self._id} was made {age} ago, and is not made again.")
                return False, None
            if not done:
                raise GitLabError(
                    f"{self.archive} is there already, and this collection did not make it.",
                    "Give another id, or move the file away.",
                )
        refuse_connection(self._request, self._instance.version, read_connections(self._instance.installation))
        refuse_directory(self._place.directory, self._place.configured)
        if not os.path.isdir(self._place.directory):
            raise GitLabError(
                f"The directory of the backups, {self._place.directory}, is not there.",
                "Mount it, or run gitlab-ctl reconfigure; if it is elsewhere, name it with backup_path.",
            )
        note: dict[str, t.Any] = {"id": self._id, "space": None, "configuration": None}
        if self._place.check_space:
            note["space"] = self._space()
        if not self._check_mode:
            # Before the data: what is in the database was encrypted with these keys, or newer ones that verification misses.
            note["configuration"] = self._save_configuration()
            note["before"] = sorted(os.listdir(self._place.directory))
            self._store.put_away(self._id)
            # Its files too: nobody else may come to say where they are.
            run = {
                "id": self._id,
                "archive": self.archive,
                "configuration": note["configuration"],
                "skipped": list(self._request.skip),
                "error": "it did not come to its end",
            }
            self._store.write_run(self._id, run)
        return True, note

    def conclude(self, job: Job | None, note: t.Any) -> None:
        if self._check_mode:
            self._take_in(None, note, changed=note is not None)
            return
        if job is None:
            self._take_former(made=note is not None)
            return
        self._take_in(job, note, changed=True)
        failure = self._failure(job)
        if failure is not None:
            removed = self._clean(job, note)
            if removed:
                self.notes.append(f"Removed what the failed run left in {self._place.directory}: {', '.join(removed)}.")
        self._store.keep_log(self._id, job.log, job.errors)
        self._store.write_run(self._id, dict(self.result, error=failure and failure.msg))
        if failure is not None:
            raise failure

    def _take_former(self, made: bool) -> None:
        """Return what another run found out of this backup; ``made`` is whether this run saw it being made."""
        former = self._store.read_run(self._id) or {}
        error = former.pop("error", "nothing is known of its end")
        self.result = {**former, "changed": made, "notes": self.notes, "commands": [self._argv] if made else []}
        if error:
            raise GitLabError(f"The backup {self._id} failed: {error}", "Run this again.", **self.result)

    def _take_in(self, job: Job | None, note: t.Any, changed: bool) -> None:
        log = self._log(job)
        note = note or {}
        self.result = {
            "changed": changed,
            "id": self._id,
            "archive": self.archive,
            "configuration": note.get("configuration"),
            "space": note.get("space"),
            "skipped": list(self._request.skip),
            "parts": [dataclasses.asdict(part) for part in log.parts],
            "failures": list(log.failures[:SHOWN_FAILURES]),
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log, LOG_TAIL_BYTES) if job else "",
            "notes": self.notes,
            "commands": self._commands() if changed else [],
        }

    def _commands(self) -> list[list[str]]:
        return [*([self._configuration_command()] if self._place.configuration else []), self._argv]

    def _log(self, job: Job | None) -> _backup_log.Log:
        text = f"{tail(job.log, LOG_BYTES)}\n{tail(job.errors, LOG_BYTES)}" if job else ""
        return _backup_log.read(text, self._id)

    def _failure(self, job: Job) -> GitLabError | None:
        log = self._log(job)
        if log.failures:
            what = " | ".join(log.failures[:3])
        elif job.rc is None:
            what = "its process disappeared without an exit status (killed, or a restart)"
        elif job.rc != 0:
            what = f"exit status {job.rc}"
        elif not log.finished:
            what = "it ended without an error, and without saying that the backup is done"
        elif not os.path.exists(self.archive):
            what = f"it ended without an error, yet {self.archive} is not there; if its directory is another, give backup_path"
        else:
            return None
        diagnosis = diagnose(job.output(), job.rc)
        known = diagnosis.cause not in (Cause.UNKNOWN, Cause.NONE)
        meaning = f" {diagnosis.summary} {diagnosis.meaning}" if known else ""
        failed = log.named(_backup_log.FAILED)
        parts = f" These parts failed: {', '.join(failed)}." if failed else ""
        return GitLabError(
            f"The backup {self._id} is not to be used: {what.rstrip('.')}.{parts}{meaning}",
            f"{diagnosis.remedy if known else 'Read its output, and run this again.'} The whole output: {job.log}, {job.errors}.",
            **dict(self.result, diagnosis=diagnosis.to_dict(), notes=self.notes),
        )

    def _clean(self, job: Job, note: t.Mapping[str, t.Any]) -> list[str]:
        """Remove what gitlab-backup leaves when it fails, but nothing that was there before it began."""
        packed = "... done" in tail(job.log).rpartition("Creating ")[2].split("\n", 1)[0]
        names = [*STAGED, *([] if packed else [os.path.basename(self.archive)])]
        left = [
            name
            for name in names
            if name not in note["before"] and os.path.lexists(os.path.join(self._place.directory, name))
        ]
        for name in left:
            path = os.path.join(self._place.directory, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        return left

    def _space(self) -> dict[str, t.Any]:
        status = os.statvfs(self._place.directory)
        free = status.f_bavail * status.f_frsize
        copy = self._request.strategy == COPY
        former = next(
            (
                one
                for one in self._store.readable()
                if one.verified and set(self._request.skip) == set(one.skipped) & set(_backup_log.PARTS)
            ),
            None,
        )
        if former is not None:
            space = _backup_space.from_former(former.archive.size, former.id, free, copy)
        else:
            space = self._measured(free, copy)
        if not space.enough:
            raise GitLabError(
                f"There is not enough room for a backup in {self._place.directory}: {space}.",
                "Make room there (backup_retention removes old backups), or set check_space: false if you know better.",
                space=dataclasses.asdict(space),
            )
        return dataclasses.asdict(space)

    def _measured(self, free: int, copy: bool) -> _backup_space.Space:
        databases = {}
        if _backup_log.DATABASE not in self._request.skip:
            databases = {one.name: one.read([TABLE_SIZES])[TABLE_SIZES.name] for one in self._instance.sessions()}
        parts = [name for name in _backup_log.PARTS if name not in self._request.skip]
        paths = data_paths(self._instance.installation, parts)
        here = {name: path for name, path in paths.items() if os.path.isdir(path)}
        folders = {}
        if here:
            # Files that vanish meanwhile give an exit status of 1 and are no matter.
            output = self._instance.runner.run(["du", "--summarize", "--bytes", *here.values()]).stdout
            sizes = {path: int(size) for size, _tab, path in (line.partition("\t") for line in output.splitlines())}
            folders = {name: sizes.get(path, 0) for name, path in here.items()}
        return _backup_space.from_measured(databases, folders, [name for name in paths if name not in here], free, copy)

    def _configuration_command(self) -> list[str]:
        return self._instance.installation.ctl("backup-etc", "--no-delete-old-backups")

    def _save_configuration(self) -> str | None:
        if not self._place.configuration:
            return None
        # Not by its --backup-path: backup-etc leaves only that directory out of the archive, and would pack all former
        # archives of the usual one.
        before = _tars(CONFIGURATION_BACKUPS)
        result = self._instance.runner.run(self._configuration_command())
        new = sorted(_tars(CONFIGURATION_BACKUPS) - before)
        if result.rc != 0 or not new:
            raise GitLabError(
                f"The configuration could not be saved: {' '.join(result.output.split()) or 'no new archive is there'}.",
                f"Check the free space and the permissions of {CONFIGURATION_BACKUPS}, then run this again.",
            )
        # There it would be removed by the next backup-etc that prunes (backup_keep_time), and it is needed for a rollback.
        target = os.path.join(self._store.make(self._id), new[-1])
        try:
            shutil.move(os.path.join(CONFIGURATION_BACKUPS, new[-1]), target)
        except OSError as error:
            raise GitLabError(
                f"The archive of the configuration could not be kept as {target}: {error.strerror}.",
                "Make room there, then run this again.",
            ) from error
        return target


def configuration_default(install_type: str) -> bool:
    """Return whether C(gitlab-ctl backup-etc) is there to save the configuration."""
    return install_type == OMNIBUS


def _is_recent(job: Job) -> bool:
    return job.rc == 0 and time.time() - (job.ended_at or 0) < RESUME_SECONDS


def _tars(directory: str) -> set[str]:
    with contextlib.suppress(OSError):
        return {name for name in os.listdir(directory) if name.endswith(".tar")}
    return set()
