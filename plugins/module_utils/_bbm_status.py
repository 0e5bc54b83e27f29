# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    STATES,
    BatchedMigration,
    no_table,
    parse_id,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_choice import refuse_empty
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_progress import (
    FINISHED,
    KEY_RANGE,
    Jobs,
    Progress,
    eta,
    progress,
    rate,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_safety import (
    blocking,
    ignored,
    unasked,
    unsafe_reasons,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import (
    Scheduler,
    read_scheduler,
    running_now,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_stall import (
    Surroundings,
    last_activity,
    stalled_reasons,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._sidekiq_waiting import Waiting
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import iso, parse_moment
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from datetime import datetime

    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rolling_back import Rollback
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Database, Topology

# A choice of the option state that stands for all that block an upgrade.
UNFINISHED = "unfinished"
STATE_CHOICES = (*STATES.values(), UNFINISHED)

_NEWEST_JOB = (
    "id",
    "status",
    "attempts",
    "min_value",
    "max_value",
    "min_cursor",
    "max_cursor",
    "batch_size",
    "sub_batch_size",
)


def filter_options() -> dict[str, t.Any]:
    """Return the options that say which migrations are shown."""
    return {
        "database": {"type": "list", "elements": "str"},
        "state": {"type": "list", "elements": "str", "choices": list(STATE_CHOICES)},
        "job_class_name": {"type": "str"},
        "table_name": {"type": "str"},
        "migrations": {"type": "list", "elements": "str"},
    }


class Reading(t.NamedTuple):
    """What one physical database answered to the parts of :mod:`_bbm_sql`."""

    database: Database
    answers: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Selection:
    """Which migrations are shown. None: no restriction."""

    databases: frozenset[str] | None = None
    states: frozenset[str] | None = None
    job_class_name: str | None = None
    table_name: str | None = None
    ids: frozenset[str] | None = None

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any], topology: Topology) -> Selection:
        """Read the options of :func:`filter_options`.

        Names of databases are names of connections, so that C(ci) selects what is in main's database where the two share it.

        :raises GitLabError: a database does not exist, an id is none, or a name is empty.
        """
        refuse_empty(options)
        databases = options.get("database")
        ids = options.get("migrations")
        return cls(
            databases=frozenset(topology.find(name).name for name in databases) if databases else None,
            states=frozenset(options["state"]) if options.get("state") else None,
            job_class_name=options.get("job_class_name"),
            table_name=options.get("table_name"),
            ids=frozenset(_canonical_id(text, topology) for text in ids) if ids else None,
        )

    def shows(self, migration: BatchedMigration) -> bool:
        return (
            (self.databases is None or migration.database in self.databases)
            and (
                self.states is None
                or migration.state in self.states
                or (UNFINISHED in self.states and not migration.done)
            )
            and self.job_class_name in (None, migration.job_class_name)
            and self.table_name in (None, migration.table_name)
            and (self.ids is None or migration.id in self.ids)
        )


def status(
    version: str | None,
    readings: t.Sequence[Reading],
    selection: Selection,
    rolling_back: Rollback | None = None,
    sidekiq: Waiting | None = None,
) -> dict[str, t.Any]:
    """Return the result of C(bbm_status), without C(commands).

    ``version`` is the content of the VERSION file, None where only the database could be asked; ``readings`` are all databases of the instance, main first;
    ``rolling_back`` is the rollback that is under way; ``sidekiq`` is None where only the databases were asked.

    :raises GitLabError: a database has no batched background migrations, or a selected one does not exist.
    """
    release = GitLabVersion.parse(version) if version else None
    for reading in readings:
        if "server" not in reading.answers:
            dbname = reading.database.dbname
            raise GitLabError(f"The database {dbname} answered only in part.", "Try again.", database=dbname)
        if "migrations" not in reading.answers:
            raise rolling_back.error() if rolling_back else no_table(reading.database.dbname)
    scheduler = read_scheduler(release, readings[0].answers)
    databases = [_InDatabase(reading, scheduler) for reading in readings]
    everything = [migration for database in databases for migration in database.migrations]
    _check_ids(selection, everything)
    background: dict[str, int] = {}
    for reading in readings:
        for name, count in reading.answers.get("background", {}).items():
            background[name] = background.get(name, 0) + count
    unproven = [migration for database in databases for migration in database.unproven]
    schema_down = {reading.database.name: reading.answers.get("schema_down") for reading in readings}
    not_asked = unasked(release, schema_down, sidekiq)
    reasons = unsafe_reasons(
        release,
        everything,
        background if all("background" in reading.answers for reading in readings) else None,
        unproven,
        [reading.database.name for reading in readings if reading.answers["server"]["standby"]],
        schema_down,
        sidekiq,
    )
    reasons += not_asked
    if rolling_back:
        reasons.insert(0, rolling_back.text)
    by_state: dict[str, list[str]] = {}
    for migration in everything:
        by_state.setdefault(migration.state, []).append(migration.id)
    return {
        "changed": False,
        "gitlab_version": version,
        "databases": [database.to_result() for database in databases],
        "migrations": [
            database.describe(migration)
            for database in databases
            for migration in database.migrations
            if selection.shows(migration)
        ],
        "unfinished": [migration.id for migration in everything if not migration.done],
        "blocking": [migration.id for migration in blocking(release, everything)],
        "rolling_back": rolling_back and rolling_back.backup,
        "unproven": [migration.id for migration in unproven],
        "by_state": by_state,
        "scheduler": scheduler.to_result(),
        "background_migrations": {
            "pending": background,
            "total": sum(background.values()),
            "in_sidekiq": dict(sidekiq.numbers) if sidekiq and sidekiq.numbers else None,
        },
        "safe_to_upgrade": not reasons,
        "reasons": reasons,
        "unasked": not_asked,
        "notes": ignored(release, everything),
        "read_at": iso(databases[0].now),
    }


class _InDatabase:
    """The migrations of one database, with what is known of their jobs."""

    def __init__(self, reading: Reading, scheduler: Scheduler) -> None:
        self._database = reading.database
        self._answers = reading.answers
        now = parse_moment(reading.answers["server"]["now"])
        if now is None:
            raise GitLabError(f"The database {reading.database.dbname} told no time.", database=reading.database.dbname)
        self.now: datetime = now
        self.migrations = [
            BatchedMigration.from_row(reading.database.name, row) for row in reading.answers["migrations"]
        ]
        marked = set(reading.answers.get("unproven", []))
        self.unproven = [migration for migration in self.migrations if migration.row_id in marked]
        running, waiting = running_now(self.migrations, scheduler, now)
        self._ahead = [migration.id for migration in running]
        workers = reading.answers.get("workers")
        self._around = Surroundings(
            now=now,
            scheduler=scheduler,
            waiting=frozenset(migration.row_id for migration in waiting),
            vacuumed=frozenset(reading.answers.get("vacuum", [])),
            worked_on=None if workers is None else frozenset(workers),
            last_done=max(
                (moment for moment in map(_changed, self.migrations) if moment is not None),
                default=None,
            ),
        )

    def to_result(self) -> dict[str, t.Any]:
        counts: dict[str, int] = {}
        for migration in self.migrations:
            counts[migration.state] = counts.get(migration.state, 0) + 1
        return {
            "name": self._database.name,
            "dbname": self._database.dbname,
            "connections": list(self._database.connections),
            "migrations": counts,
            "schema_migrations_down": self._answers.get("schema_down"),
        }

    def describe(self, migration: BatchedMigration) -> dict[str, t.Any]:
        """Return one element of C(migrations)."""
        answer = self._answers.get("jobs", {}).get(str(migration.row_id))
        jobs = Jobs.from_answer(answer) if answer else None
        error = self._answers.get("errors", {}).get(str(migration.row_id))
        result = _identity(migration)
        result.update(self._movement(migration, jobs))
        result["jobs"] = jobs.to_result() if jobs else dict(_NOT_COUNTED)
        result["newest_job"] = _newest_job(jobs.newest) if jobs and jobs.newest else None
        result["last_activity"] = iso(last_activity(migration, jobs)) if jobs else _moment(migration, "finished_at")
        result["last_error"] = dict(error, at=iso(parse_moment(error["at"]))) if error else None
        return result

    def _movement(self, migration: BatchedMigration, jobs: Jobs | None) -> dict[str, t.Any]:
        total = migration.row.get("total_tuple_count")
        result: dict[str, t.Any] = {
            "progress": {"percent": None, "done_tuples": None, "total_tuples": total, "basis": None},
            "rate": None,
            "eta_seconds": None,
            "eta_basis": None,
            "stalled": False,
            "stalled_reasons": [],
        }
        if migration.done:
            result["progress"].update(percent=100.0, basis=FINISHED)
        if migration.done or jobs is None:
            return result
        row = migration.row
        reading = progress(row, jobs)
        result["progress"].update(
            percent=reading.percent,
            done_tuples=None if reading.basis == KEY_RANGE else reading.done,
            basis=reading.basis,
        )
        reasons = stalled_reasons(migration, jobs, self._around)
        result.update(stalled=bool(reasons), stalled_reasons=reasons)
        result.update(self._pace(migration, jobs, reading, bool(reasons)))
        return result

    def _pace(self, migration: BatchedMigration, jobs: Jobs, reading: Progress, stalled: bool) -> dict[str, t.Any]:
        if stalled:
            return {"eta_basis": "no estimate: it does not move"}
        if migration.row_id in self._around.waiting:
            return {"eta_basis": f"no estimate: it waits for its turn behind {', '.join(self._ahead) or 'others'}"}
        pace = rate(jobs, float(migration.row.get("interval") or 0), finalizing=migration.state == "finalizing")
        seconds, basis = eta(reading, pace)
        return {"rate": round(pace.tuples, 2) if pace else None, "eta_seconds": seconds, "eta_basis": basis}


_NOT_COUNTED: t.Mapping[str, t.Any] = {
    "pending": None,
    "running": None,
    "failed": None,
    "succeeded": None,
    "exhausted": None,
    "counted": False,
}


def _identity(migration: BatchedMigration) -> dict[str, t.Any]:
    row = migration.row
    return {
        "id": migration.id,
        "database": migration.database,
        "row_id": migration.row_id,
        "job_class_name": migration.job_class_name,
        "table_name": migration.table_name,
        "column_name": migration.column_name,
        "job_arguments": migration.job_arguments,
        "gitlab_schema": migration.gitlab_schema,
        "status": migration.status,
        "state": migration.state,
        "created_at": _moment(migration, "created_at"),
        "started_at": _moment(migration, "started_at"),
        "finished_at": _moment(migration, "finished_at"),
        "updated_at": _moment(migration, "updated_at"),
        "on_hold_until": _moment(migration, "on_hold_until"),
        "interval_seconds": row.get("interval"),
        "batch_size": row.get("batch_size"),
        "sub_batch_size": row.get("sub_batch_size"),
        "queued_migration_version": row.get("queued_migration_version"),
    }


def _newest_job(job: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    result = {name: job.get(name) for name in _NEWEST_JOB}
    for name in ("created_at", "started_at", "finished_at", "updated_at"):
        result[name] = iso(parse_moment(job.get(name)))
    return result


def _moment(migration: BatchedMigration, column: str) -> str | None:
    return iso(parse_moment(migration.row.get(column)))


def _changed(migration: BatchedMigration) -> datetime | None:
    return parse_moment(migration.row.get("updated_at")) if migration.done else None


def _canonical_id(text: str, topology: Topology) -> str:
    name, row_id = parse_id(text)
    return f"{topology.find(name).name}_{row_id}"


def _check_ids(selection: Selection, migrations: t.Iterable[BatchedMigration]) -> None:
    missing = (selection.ids or frozenset()) - {migration.id for migration in migrations}
    if missing:
        raise GitLabError(
            f"There is no batched background migration {', '.join(sorted(missing))}.",
            "Run bbm_status without the option migrations to see those that exist.",
        )
