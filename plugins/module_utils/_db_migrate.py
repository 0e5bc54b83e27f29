# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Runs GitLab's schema migrations as a job, and counts by the rows what that did."""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import applied_migrations, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import task
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import (
    DOWN,
    POST_DEPLOYMENT,
    VERSIONS,
    Migration,
    merge,
    migration_files,
    read_versions,
)

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

MIGRATE = "db:migrate"
# Loads the schema into an empty database, migrates any other.
CONFIGURE = "gitlab:db:configure"

# Rake puts it into the environment itself; sudo would not let it through from outside.
SKIP_POST_DEPLOYMENT = "SKIP_POST_DEPLOYMENT_MIGRATIONS=true"

LOG_BYTES = 8 * 1024 * 1024
LOG_TAIL_BYTES = 8000


def command(installation: Installation, name: str, skip_post_deployment: bool) -> list[str]:
    """Return the command of one of the two tasks."""
    return [*installation.rake(task(name)), *([SKIP_POST_DEPLOYMENT] if skip_post_deployment else [])]


def wanted(migrations: t.Iterable[Migration], skip_post_deployment: bool) -> list[Migration]:
    """Return those that are down and that this run is to bring up."""
    return [
        one for one in migrations if one.state == DOWN and not (skip_post_deployment and one.kind == POST_DEPLOYMENT)
    ]


def applied(
    before: t.Iterable[t.Mapping[str, t.Any]], after: t.Iterable[Migration], log: str, default_database: str
) -> list[dict[str, t.Any]]:
    """Return the migrations that were down before and are not now, with the names and times that the log has for them.

    ``before`` are dictionaries of :class:`Migration`.
    """
    down = {(one.database, one.version) for one in after if one.state == DOWN}
    runs = {(run.database or default_database, run.version): run for run in applied_migrations(log)}
    result = []
    for one in before:
        key = (one["database"], one["version"])
        if key in down:
            continue
        run = runs.get(key)
        result.append(
            {
                "database": one["database"],
                "version": one["version"],
                "name": run.name if run else one["name"],
                "seconds": run.seconds if run else None,
            }
        )
    return result


def count(migrations: t.Iterable[t.Mapping[str, t.Any]], databases: t.Iterable[str]) -> dict[str, int]:
    """Return how many there are for each database."""
    counts = dict.fromkeys(databases, 0)
    for one in migrations:
        counts[one["database"]] += 1
    return counts


class MigrateJob(OneJob):
    """One run of C(db:migrate) or C(gitlab:db:configure). After the last step C(result) has what it did."""

    name = "db_migrate"

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        memory: dict[str, t.Any],
        name: str,
        skip_post_deployment: bool,
        check_mode: bool,
    ) -> None:
        self._instance = instance
        self._task = name
        self._skip_post_deployment = skip_post_deployment
        installation = instance.installation
        argv = command(installation, name, skip_post_deployment)
        super().__init__(jobs, memory, argv, installation.working_directory, check_mode)
        self.result: dict[str, t.Any] = {}

    def prepare(self) -> tuple[bool, t.Any]:
        _rolling_back.refuse()
        pending = wanted(self._read(), self._skip_post_deployment)
        return bool(pending), [one.to_dict() for one in pending]

    def counts(self, job: Job) -> bool:
        # A failure may have been mended since. A success stands in the rows, and tells nothing of a newer package's.
        if job.rc != 0 or job.argv != tuple(self._argv):
            return False
        return not wanted(self._read(), self._skip_post_deployment)

    def conclude(self, job: Job | None, note: t.Any) -> None:
        migrations = self._read()
        left = wanted(migrations, self._skip_post_deployment)
        names = [database.name for database in self._instance.topology.databases]
        done = applied(note, migrations, tail(job.log, LOG_BYTES) if job else "", names[0])
        self.result = {
            "changed": bool(left) if self._check_mode else bool(done),
            "applied": done,
            "before": count(note, names),
            "after": count([one.to_dict() for one in left], names),
            "pending": [one.to_dict() for one in left],
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log, LOG_TAIL_BYTES) if job else "",
            "notes": self.notes,
            "commands": [self._argv] if note else [],
        }
        if job is not None and job.rc != 0:
            raise self._failure(job)
        if left and not self._check_mode:
            first = left[0]
            raise GitLabError(
                f"{self._task} ended without an error, yet {len(left)} migrations are down, first {first.version}"
                f" ({first.name}) of the database {first.database}.",
                f"Read {job.log if job else 'the output of the other run'}, then run the task again.",
                **self.result,
            )

    def _failure(self, job: Job) -> GitLabError:
        output = job.output()
        diagnosis = diagnose(output, job.rc)
        lost = " Its process disappeared without an exit status." if job.rc is None else ""
        return GitLabError(
            f"{self._task} failed.{lost} {diagnosis.summary} {diagnosis.meaning}",
            f"{diagnosis.remedy} The whole output: {job.log}, {job.errors}.",
            **dict(
                self.result,
                diagnosis=diagnosis.to_dict(),
                output=output,
            ),
        )

    def _read(self) -> list[Migration]:
        files = migration_files(self._instance.installation.rails_root)
        return [
            migration
            for session in self._instance.sessions()
            for migration in merge(session.name, self._versions(session), files)
        ]

    def _versions(self, session: Session) -> list[str]:
        if self._task != CONFIGURE:
            return read_versions(session)
        # An empty database is what this task is for.
        versions: list[str] = session.read([VERSIONS]).get(VERSIONS.name, [])
        return versions
