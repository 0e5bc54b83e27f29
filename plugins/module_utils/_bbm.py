# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

PAUSED = 0
ACTIVE = 1
FINISHED = 3
FAILED = 4
# A finalize that was interrupted leaves this state; only another finalize resumes it (from 14.1).
FINALIZING = 5
# Never touch these again: the code of the migration may be gone (from about 16.10).
FINALIZED = 6

STATES: t.Mapping[int, str] = {
    PAUSED: "paused",
    ACTIVE: "active",
    FINISHED: "finished",
    FAILED: "failed",
    FINALIZING: "finalizing",
    FINALIZED: "finalized",
}
DONE = frozenset({FINISHED, FINALIZED})

JOB_PENDING = 0
JOB_RUNNING = 1
JOB_FAILED = 2
JOB_SUCCEEDED = 3
# Gitlab::Database::BackgroundMigration::BatchedJob::MAX_ATTEMPTS
JOB_MAX_ATTEMPTS = 3

TABLE = "batched_background_migrations"
JOBS_TABLE = "batched_background_migration_jobs"

# The columns differ between versions (13.11 to 19.x), so that the whole row is read, as it is.
MIGRATIONS = Part(
    "migrations",
    (TABLE,),
    f"SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.id), '[]'::jsonb) FROM {TABLE} AS m",
)

# jsonb's own equality, as in GitLab's find_for_configuration. The row's number sorts the rare several.
_BY_CONFIGURATION = f"""
SELECT * FROM {TABLE}
WHERE job_class_name = %(job_class_name)s AND table_name = %(table_name)s AND column_name = %(column_name)s
  AND job_arguments = %(job_arguments)s::jsonb
ORDER BY id"""
_BY_ID = f"SELECT * FROM {TABLE} WHERE id = %(row_id)s::bigint"

_ID = re.compile(r"\A(?P<database>[a-z][a-z0-9_]*)_(?P<row_id>[1-9][0-9]{0,18})\Z")


def state_name(status: int) -> str:
    """Return GitLab's word for a status; C(unknown_<n>) for one that no known version has."""
    return STATES.get(status, f"unknown_{status}")


def format_id(database: str, row_id: int) -> str:
    """Return the id of a migration as GitLab's own tasks write it from 18.5 on, such as C(main_85)."""
    return f"{database}_{row_id}"


def parse_id(text: str) -> tuple[str, int]:
    """Split an id such as C(main_85) into the database's name and the number of the row.

    :raises GitLabError: the text is no such id.
    """
    match = _ID.match(text)
    if not match:
        raise GitLabError(
            f"{text!r} is not the id of a batched background migration.",
            "Ids are the database's name and the row's id, such as main_85; bbm_status lists them.",
        )
    return match.group("database"), int(match.group("row_id"))


def native_arguments(value: t.Any) -> t.Any:
    """Return C(job_arguments) as the list that it means.

    14.0's default was the JSON I(string) C("[]"), which stayed in rows that were written with it.
    """
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


@dataclass(frozen=True)
class BatchedMigration:
    """One row of C(batched_background_migrations)."""

    database: str
    row_id: int
    job_class_name: str
    table_name: str
    column_name: str
    job_arguments: t.Any
    status: int
    gitlab_schema: str | None = None
    # The whole row, with the columns that this version has; job_arguments as they are stored.
    row: t.Mapping[str, t.Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_row(cls, database: str, row: t.Mapping[str, t.Any]) -> BatchedMigration:
        """Return the migration that a row of ``database`` (the physical database's name) describes."""
        return cls(
            database=database,
            row_id=int(row["id"]),
            job_class_name=row["job_class_name"],
            table_name=row["table_name"],
            column_name=row["column_name"],
            job_arguments=native_arguments(row["job_arguments"]),
            status=int(row["status"]),
            gitlab_schema=row.get("gitlab_schema"),
            row=dict(row),
        )

    @property
    def id(self) -> str:
        """Such as C(main_85)."""
        return format_id(self.database, self.row_id)

    @property
    def state(self) -> str:
        return state_name(self.status)

    @property
    def done(self) -> bool:
        """Finished or finalized; everything else blocks an upgrade."""
        return self.status in DONE

    @property
    def label(self) -> str:
        """For people: class, table and database."""
        return f"{self.job_class_name} on {self.table_name} ({self.id})"


def read_migrations(session: Session) -> list[BatchedMigration]:
    """Return all batched background migrations of one physical database, by row id.

    :raises GitLabError: the database has no such table, or does not answer.
    """
    answer = session.read([MIGRATIONS])
    if MIGRATIONS.name not in answer:
        raise no_table(session.dbname)
    return [BatchedMigration.from_row(session.name, row) for row in answer[MIGRATIONS.name]]


def find_by_id(session: Session, row_id: int) -> BatchedMigration | None:
    """Return the migration with this row id in one physical database, if it is there.

    :raises GitLabError: the database does not answer.
    """
    rows = session.fetch(_BY_ID, row_id=row_id)
    return BatchedMigration.from_row(session.name, rows[0]) if rows else None


def find_by_configuration(
    session: Session, job_class_name: str, table_name: str, column_name: str, job_arguments: str
) -> list[BatchedMigration]:
    """Return the migrations with this configuration in one physical database.

    ``job_arguments`` is JSON text (:func:`_rake.job_arguments_json`). It is compared as GitLab compares it: the whole
    value, where C(null) is not C([]). Several rows are possible from 15.0 on, with different C(gitlab_schema).

    :raises GitLabError: the database does not answer.
    """
    rows = session.fetch(
        _BY_CONFIGURATION,
        job_class_name=job_class_name,
        table_name=table_name,
        column_name=column_name,
        job_arguments=job_arguments,
    )
    return [BatchedMigration.from_row(session.name, row) for row in rows]


def no_table(dbname: str) -> GitLabError:
    """Return the error for a database without batched background migrations."""
    return GitLabError(
        f"The database {dbname} has no table {TABLE}: it is not GitLab's, or GitLab is older than 13.11,"
        " which has no batched background migrations.",
        "Check the name of the database; an instance older than 13.11 must be upgraded to 13.12 by hand first.",
        database=dbname,
    )
