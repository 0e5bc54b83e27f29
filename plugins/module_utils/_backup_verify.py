# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads a backup as a job, makes all checks, and writes down what came out."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _backup_again,
    _backup_information,
    _backup_log,
    _backup_manifest,
    _own_python,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    ConfigurationContents,
    Contents,
    dump_path,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_checks import (
    Expected,
    Live,
    check,
    skipped_parts,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_live import (
    filled_repository,
    read_live,
    server_version,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import REPOSITORIES
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import SECRETS, data_paths
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import look_at
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_worker import UNREADABLE, Found, load, read
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import iso, parse_moment

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

_AGAIN = "Put right what is named, and make a new backup; until then no role accepts this one."

# What a verification finds holds as long as the archive is not written to.
RESUME_SECONDS = 3600


class _UnreadableError(GitLabError):
    """A file of the backup is not there, or cannot be read; ``words`` say which and why."""

    def __init__(self, name: str, words: str, **details: t.Any) -> None:
        super().__init__(
            f"The backup {name} could not be read: {words}",
            "Put right what is named, and run this again.",
            verified=False,
            **details,
        )
        self.words = words


@dataclass(frozen=True)
class Backup:
    """Which backup is looked at, and what it must have. ``skip`` are the parts that were to be left out."""

    id: str
    archive: str
    configuration: str | None
    configuration_wanted: bool
    skip: tuple[str, ...]
    node: str
    secrets: t.Mapping[str, str | None]


class VerifyJob(OneJob):
    """One verification. After the last step C(result) has what it found."""

    name = "backup_verify"

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        store: Store,
        memory: dict[str, t.Any],
        backup: Backup,
        find_package: t.Callable[[], _backup_manifest.Package | None],
        check_mode: bool,
    ) -> None:
        self._instance = instance
        self._store = store
        self._backup = backup
        self._find_package = find_package
        self._contents = store.file(backup.id, "contents.json")
        self._code = store.file(backup.id, "verify.zip")
        arguments = [backup.archive, backup.configuration or "", self._contents]
        argv = _own_python.command(_own_python.place(self._code), "_backup_worker", arguments)
        super().__init__(jobs, memory, argv, None, check_mode)
        self.result: dict[str, t.Any] = {}

    def counts(self, job: Job) -> bool:
        recent = time.time() - (job.ended_at or 0) < RESUME_SECONDS
        return job.rc == 0 and job.argv == tuple(self._argv) and recent and self._newer(job)

    def prepare(self) -> tuple[bool, t.Any]:
        if not self._check_mode:
            self._store.make(self._backup.id)
            _own_python.keep_code(self._code)
        return True, None

    def conclude(self, job: Job | None, note: t.Any) -> None:
        former = self._former()
        manifest = self._judge(job, former)
        changed = former is None or replace(former, verified_at=manifest.verified_at) != manifest
        path = self._store.path(manifest.id)
        if changed and not self._check_mode:
            self._store.write(manifest)
        self.result = {
            "changed": changed,
            "verified": manifest.verified,
            "manifest": manifest.to_dict(),
            "manifest_path": path,
            "checks": manifest.to_dict()["checks"],
            "seconds": job.seconds if job else 0.0,
            "notes": self.notes,
            "commands": [],
        }
        if not manifest.verified:
            failed = "; ".join(f"{one.name}: {one.detail}" for one in manifest.failed_checks())
            raise GitLabError(
                f"The backup {manifest.id} is not verified. {failed}".rstrip(".") + ".",
                self._bring_back() if manifest.was_verified() else _AGAIN,
                **self.result,
            )

    def _judge(self, job: Job | None, former: _backup_manifest.Manifest | None) -> _backup_manifest.Manifest:
        now = iso(datetime.now(timezone.utc)) or ""
        before = former if former and former.was_verified() else None
        try:
            contents, configuration = self._found(job)
        except _UnreadableError as error:
            if before is None:
                raise
            return _backup_again.spoiled(before, error.words, now)
        if before is None:
            return self._manifest(contents, configuration, former, now)
        if before.configuration is None and self._backup.configuration_wanted:
            raise GitLabError(
                f"The backup {self._backup.id} was verified without an archive of /etc/gitlab.",
                "Set configuration: false to look at it as it was verified. To add the archive, remove"
                f" {self._store.path(self._backup.id)}, and verify it anew while GitLab is of the backup's version.",
                verified=False,
            )
        self.notes.append(
            f"It was verified at {before.verified_at}. Only its files are looked at now, not what the instance is today."
        )
        return _backup_again.judge(before, contents, configuration, now)

    def _bring_back(self) -> str:
        return (
            "Bring back the files that were verified (a copy has the same sha256), and run this again. If the backup was"
            f" made anew under this id, remove {self._store.path(self._backup.id)} first. Until then no role accepts it."
        )

    def _newer(self, job: Job) -> bool:
        try:
            return os.stat(self._backup.archive).st_mtime < job.started_at
        except OSError:
            return False

    def _found(self, job: Job | None) -> Found:
        if self._check_mode:
            try:
                return read(self._backup.archive, self._backup.configuration or "", lambda done, size, what: None)
            except GitLabError as error:
                raise _UnreadableError(self._backup.id, str(error)) from error
        if job is not None and job.rc == UNREADABLE:
            raise _UnreadableError(self._backup.id, tail(job.errors).strip(), log=job.log)
        if job is not None and job.rc != 0:
            words = tail(job.errors).strip() or "its process disappeared (killed, or a restart)"
            raise GitLabError(
                f"The backup {self._backup.id} could not be read: {words}",
                f"Run this again. The whole output: {job.log}, {job.errors}.",
                log=job.log,
            )
        try:
            with open(self._contents, encoding="utf-8") as file:
                return load(file.read())
        except (OSError, ValueError) as error:
            raise GitLabError(
                f"What was read of the backup {self._backup.id} is not there: {error}.", "Run this again."
            ) from error

    def _former(self) -> _backup_manifest.Manifest | None:
        try:
            return self._store.read(self._backup.id)
        except GitLabError as error:
            self.notes.append(f"The former manifest could not be read, and is replaced: {error.msg}")
            return None

    def _manifest(
        self,
        contents: Contents,
        configuration: ConfigurationContents | None,
        former: _backup_manifest.Manifest | None,
        now: str,
    ) -> _backup_manifest.Manifest:
        expected = self._expected()
        information = self._information(contents)
        # What was found out of this very archive by other means.
        same = former if former and not _backup_manifest.changed_since(former.archive, contents.archive) else None
        loaded = [one for one in same.checks if one.name == _backup_manifest.RESTORE] if same else []
        checks = (*check(contents, configuration, expected), *loaded)
        return _backup_manifest.Manifest(
            id=self._backup.id,
            archive=contents.archive,
            configuration=_configuration(configuration) if configuration else None,
            gitlab=_backup_manifest.GitLab(
                information.gitlab_version if information else expected.version,
                _backup_manifest.edition(expected.version),
                self._find_package(),
                self._instance.installation.install_type,
            ),
            postgresql=self._postgresql(contents),
            databases=tuple(self._dumps(contents)),
            parts=tuple(_backup_manifest.Part(name, *counts) for name, counts in sorted(contents.parts.items())),
            skipped=tuple(skipped_parts(contents, expected)),
            secrets={node: checksum or "" for node, checksum in sorted(expected.secrets.items())},
            created_at=self._created_at(information),
            verified_at=now,
            verified=all(one.passed for one in checks),
            checks=checks,
            proved_by_restore=same.proved_by_restore if same else None,
            copies=same.copies if same else (),
        )

    def _information(self, contents: Contents) -> _backup_information.Information | None:
        try:
            return _backup_information.parse(contents.information or "")
        except GitLabError:
            # The check of the version says so.
            return None

    def _dumps(self, contents: Contents) -> t.Iterator[_backup_manifest.DatabaseDump]:
        for database in self._instance.topology.databases:
            path = dump_path(database.name)
            dump = contents.dumps.get(path)
            if dump is not None:
                yield _backup_manifest.DatabaseDump(
                    database.name,
                    database.dbname,
                    path,
                    contents.dump_sizes[path],
                    dump.rows,
                    len(dump.schema_migrations),
                    max(dump.schema_migrations, default=None),
                    dump.schema_migrations,
                )

    def _postgresql(self, contents: Contents) -> _backup_manifest.PostgreSQL:
        version = next((dump.server_version for dump in contents.dumps.values()), "")
        if not version:
            with contextlib.suppress(GitLabError):
                version = server_version(self._instance.sessions()[0])
        return _backup_manifest.PostgreSQL(version, int(version.partition(".")[0] or 0))

    def _expected(self) -> Expected:
        with open(self._instance.installation.version_file, encoding="utf-8") as file:
            version = file.read().strip()
        text = self._store.read_log(self._backup.id)
        own = look_at(SECRETS) if self._backup.configuration_wanted else None
        secrets = dict(self._backup.secrets)
        if self._backup.configuration_wanted:
            secrets[self._backup.node] = own.sha256 if own else None
        return Expected(
            version=version,
            databases=[database.name for database in self._instance.topology.databases],
            skip=self._backup.skip,
            log=_backup_log.read(text, self._backup.id) if text is not None else None,
            live=self._live(),
            secrets=secrets,
            configuration=self._backup.configuration_wanted,
            repository=self._repository(),
        )

    def _repository(self) -> str | None:
        if REPOSITORIES in self._backup.skip:
            return None
        try:
            folder = data_paths(self._instance.installation, [REPOSITORIES])[REPOSITORIES]
            return filled_repository(self._instance.sessions()[0], folder)
        except GitLabError as error:
            self.notes.append(error.msg)
            return None

    def _live(self) -> dict[str, Live]:
        live = {}
        for database in self._instance.topology.databases:
            try:
                live[database.name] = read_live(self._instance.session(database.name))
            except GitLabError as error:
                self.notes.append(error.msg)
        return live

    def _created_at(self, information: _backup_information.Information | None) -> str:
        created = parse_moment(information.created_at) if information else None
        if created is None:
            created = datetime.fromtimestamp(os.stat(self._backup.archive).st_mtime, timezone.utc)
        return iso(created) or ""


def _configuration(contents: ConfigurationContents) -> _backup_manifest.Configuration:
    archive = contents.archive
    return _backup_manifest.Configuration(archive.path, archive.size, archive.sha256, tuple(sorted(contents.files)))
