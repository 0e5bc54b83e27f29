# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the modules have in common that change rows of batched background migrations by Ruby inside GitLab.

The rows are read before and after; what Ruby answered only explains why a row is not as it should be.
"""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize, _rails_runner
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    JOBS_TABLE,
    TABLE,
    BatchedMigration,
    find_by_id,
    read_migrations,
    state_name,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import LOGS_TABLE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import diagnose

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

# A migration can have millions of jobs; more than these are counted and not shown.
SHOWN = 100

# The open jobs of one migration, failed ones first, and how many there are of each kind.
OPEN_JOBS = Part(
    "open_jobs",
    (TABLE, JOBS_TABLE),
    f"""
SELECT jsonb_build_object(
  'pending', count(*) FILTER (WHERE j.status = 0), 'running', count(*) FILTER (WHERE j.status = 1),
  'failed', count(*) FILTER (WHERE j.status = 2),
  'exhausted', count(*) FILTER (WHERE j.status = 2 AND j.attempts >= 3),
  'newest', (
    SELECT coalesce(max(n.id), 0) FROM {JOBS_TABLE} AS n WHERE n.batched_background_migration_id = %(row_id)s::bigint),
  'shown', (
    SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.status DESC, s.id), '[]'::jsonb) FROM (
      SELECT o.* FROM {JOBS_TABLE} AS o
      WHERE o.batched_background_migration_id = %(row_id)s::bigint AND o.status IN (0, 1, 2)
      ORDER BY o.status DESC, o.id LIMIT {SHOWN}) AS s))
FROM {JOBS_TABLE} AS j
WHERE j.batched_background_migration_id = %(row_id)s::bigint AND j.status IN (0, 1, 2)""",
)

# The newest error of each of them (the log exists from 14.10 on).
JOB_ERRORS = Part(
    "job_errors",
    (TABLE, JOBS_TABLE, LOGS_TABLE),
    f"""
SELECT coalesce(jsonb_object_agg(s.id, e.error), '{{}}'::jsonb)
FROM (
  SELECT o.id FROM {JOBS_TABLE} AS o
  WHERE o.batched_background_migration_id = %(row_id)s::bigint AND o.status IN (0, 1, 2)
  ORDER BY o.status DESC, o.id LIMIT {SHOWN}) AS s
CROSS JOIN LATERAL (
  SELECT jsonb_build_object(
    'exception_class', l.exception_class, 'exception_message', l.exception_message, 'at', l.created_at) AS error
  FROM {LOGS_TABLE} AS l
  WHERE l.batched_background_migration_job_id = s.id AND l.exception_class IS NOT NULL
  ORDER BY l.created_at DESC, l.id DESC LIMIT 1) AS e""",
)

_JOB_COLUMNS = ("id", "attempts", "batch_size", "min_value", "max_value", "min_cursor", "max_cursor")
_JOB_STATES: t.Mapping[int, str] = {0: "pending", 1: "running", 2: "failed"}


class OpenJobs(t.NamedTuple):
    """The jobs of one migration that have not succeeded."""

    pending: int
    running: int
    failed: int
    # Failed, with no attempt left.
    exhausted: int
    # The highest id of all jobs of the migration; 0 without jobs.
    newest: int
    # The first :data:`SHOWN`, failed ones first, each with its newest error.
    shown: list[dict[str, t.Any]]

    @property
    def counts(self) -> dict[str, int]:
        return {"pending": self.pending, "running": self.running, "failed": self.failed, "exhausted": self.exhausted}


def choose(instance: Instance, ids: t.Iterable[str]) -> list[BatchedMigration]:
    """Return the migrations with these ids, each once, in the order given.

    :raises GitLabError: one does not exist; the message shows what comes near.
    """
    everything = read_all(instance)
    return [_bbm_finalize.select(_bbm_finalize.Selection(id=one), everything)[0] for one in dict.fromkeys(ids)]


def read_all(instance: Instance) -> list[BatchedMigration]:
    """Return all migrations of all databases, main first."""
    return [one for session in instance.sessions() for one in read_migrations(session)]


def read_again(instance: Instance, migration: BatchedMigration) -> BatchedMigration:
    """Return the migration as it is now.

    :raises GitLabError: its row is gone.
    """
    now = find_by_id(instance.session(migration.database), migration.row_id)
    if now is None:
        raise GitLabError(f"The row of {migration.label} is gone.", "Somebody removed it; see bbm_status.")
    return now


def read_open_jobs(instance: Instance, migration: BatchedMigration) -> OpenJobs:
    """Return the jobs of a migration that have not succeeded, with their errors."""
    answer = instance.session(migration.database).read([OPEN_JOBS, JOB_ERRORS], row_id=migration.row_id)
    found = answer[OPEN_JOBS.name]
    errors: dict[str, t.Any] = answer.get(JOB_ERRORS.name, {})
    shown = [describe_job(row, errors.get(str(row["id"]))) for row in found["shown"]]
    return OpenJobs(
        **{name: int(found[name]) for name in ("pending", "running", "failed", "exhausted", "newest")}, shown=shown
    )


def describe_job(row: t.Mapping[str, t.Any], error: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Return what a result says of one open job."""
    job = {name: row.get(name) for name in _JOB_COLUMNS}
    return {**job, "state": _JOB_STATES[int(row["status"])], "error": dict(error) if error else None}


def command(instance: Instance, snippet: str, migrations: t.Iterable[BatchedMigration], **value: t.Any) -> list[str]:
    """Return the one command that runs a snippet on these rows, as they were read."""
    rows = [
        {
            "id": one.id,
            "database": one.database,
            "row_id": one.row_id,
            "job_class_name": one.job_class_name,
            "table_name": one.table_name,
            "column_name": one.column_name,
            "job_arguments": _bbm_finalize.stored_arguments(one),
        }
        for one in migrations
    ]
    states = sorted({one.status for one in migrations})
    return _rails_runner.command(instance.installation, snippet, {"rows": rows, "from": states, **value})


def run(instance: Instance, argv: list[str]) -> CommandResult:
    """Run a command of :func:`command`."""
    return instance.runner.run(argv, cwd=instance.installation.working_directory)


def explain(done: CommandResult, migration_id: str | None = None) -> GitLabError:
    """Say why a snippet did not do what it should have done (to one migration)."""
    answer = _rails_runner.parse_answer(done.stdout) or {}
    error = answer.get("errors", {}).get(migration_id)
    if answer.get("refused"):
        return GitLabError(
            f"The code inside GitLab refused, and nothing was changed: {answer['refused']}",
            "Look at it with bbm_status, and run this again.",
        )
    if error:
        text = f"{error['error_class']}: {' '.join(str(error['error_message']).split())}"
        diagnosis = diagnose(f"rails aborted!\n{text}\n", 1)
        return GitLabError(f"GitLab said: {text} {diagnosis.meaning}".strip(), diagnosis.remedy)
    diagnosis = diagnose(done.output, done.rc)
    return GitLabError(f"{diagnosis.summary} {diagnosis.meaning}", diagnosis.remedy, output=done.output)


def describe(before: BatchedMigration, after: BatchedMigration | int) -> dict[str, t.Any]:
    """Return what each of these modules says of a migration; ``after`` is a status where it is a prediction."""
    row = dict(before.row, status=after) if isinstance(after, int) else after.row
    return {
        "id": before.id,
        "database": before.database,
        "job_class_name": before.job_class_name,
        "table_name": before.table_name,
        "column_name": before.column_name,
        "job_arguments": before.job_arguments,
        "before": dict(before.row, state=before.state),
        "after": dict(row, state=state_name(int(row["status"]))),
        "changed": int(row["status"]) != before.status,
    }


def result(migrations: list[dict[str, t.Any]], commands: list[list[str]]) -> dict[str, t.Any]:
    """Return a module's result from what :func:`describe` said of each migration."""
    return {
        "changed": any(one["changed"] for one in migrations),
        "migrations": migrations,
        "commands": commands,
        "diff": {moment: {one["id"]: one[moment]["state"] for one in migrations} for moment in ("before", "after")},
    }
