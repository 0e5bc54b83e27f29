# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is remembered of each migration that is to be finished, and what becomes of it: a result, or an error."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize as plan
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    FINISHED,
    JOBS_TABLE,
    STATES,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import LOGS_TABLE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK, Cause, Diagnosis
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job

LOG_TAIL_BYTES = 4000

# JSON values, as the memory between two steps holds them.
Track = t.Dict[str, t.Any]

LAST_ERROR = Part(
    "last_error",
    (JOBS_TABLE, LOGS_TABLE),
    f"""
SELECT coalesce((
  SELECT to_jsonb(e) FROM (
    SELECT l.batched_background_migration_job_id AS job_id, l.exception_class, l.exception_message, l.created_at AS at
    FROM {LOGS_TABLE} AS l JOIN {JOBS_TABLE} AS j ON j.id = l.batched_background_migration_job_id
    WHERE j.batched_background_migration_id = %(row_id)s::bigint AND j.status = 2 AND l.exception_class IS NOT NULL
    ORDER BY l.id DESC LIMIT 1) AS e), 'null'::jsonb)""",
)


def new_track(before: t.Mapping[str, t.Any], way: str | None = None) -> Track:
    """Return what is remembered of a migration whose row was ``before`` when it was first seen."""
    return {
        "before": dict(before),
        "way": way,
        "tried": [],
        "notes": [],
        "freed": [],
        "reset": 0,
        "seconds": 0.0,
        "log": None,
        "log_tail": "",
        "watched": False,
        "awaited": None,
        "checked_at": time.time(),
    }


def add_output(track: Track, way: str, job: Job, seconds: float, output: str) -> None:
    """Take in that a command is over; ``output`` is the end of what it printed about this migration."""
    track.update(way=way, seconds=round(track["seconds"] + seconds, 1), log=job.log, log_tail=output)


def result(
    migration: BatchedMigration, track: Track, error: GitLabError | None = None, predict: bool = False
) -> dict[str, t.Any]:
    """Return what the module tells about a migration that is over; ``predict`` in check mode: what would become of it."""
    before = BatchedMigration.from_row(migration.database, track["before"])
    untouched = plan.untouched_reason(before)
    notes = track["notes"] + [untouched] if untouched and not track["way"] else track["notes"]
    after = {**migration.row, "state": migration.state}
    predicted = predict and not migration.done and error is None
    if predicted:
        after.update(status=FINISHED, state=STATES[FINISHED])
    return {
        "id": migration.id,
        "database": migration.database,
        "job_class_name": migration.job_class_name,
        "table_name": migration.table_name,
        "column_name": migration.column_name,
        "job_arguments": migration.job_arguments,
        "before": {**before.row, "state": before.state},
        "after": after,
        "changed": predicted or bool(before.status != migration.status or track["freed"] or track["reset"]),
        "way": track["way"] and ("rake" if track["way"].startswith(FINALIZE_TASK) else "runner"),
        "seconds": track["seconds"],
        "freed_jobs": track["freed"],
        "reset_jobs": track["reset"],
        "notes": notes,
        "log": track["log"],
        "log_tail": track["log_tail"],
        "error": error and error.msg,
        "remedy": error and error.remedy,
        "diagnosis": error and error.details.get("diagnosis"),
    }


def failure(
    migration: BatchedMigration,
    session: Session,
    job: Job,
    diagnosis: Diagnosis,
    refused: str | None,
    vanished: bool,
) -> GitLabError:
    """Say why a migration is not finished after its command.

    ``refused`` is what our own code in GitLab said; ``vanished`` is true if the command did not come to its end.
    """
    last = session.read([LAST_ERROR], row_id=migration.row_id).get(LAST_ERROR.name)
    if vanished:
        reason = "Its process disappeared without an exit status: it was killed, or the host was restarted."
    elif refused:
        reason = f"The code inside GitLab refused: {refused}"
    elif diagnosis.cause is Cause.UNKNOWN and last:
        reason = f"Its job {last['job_id']} failed with {last['exception_class']}: {last['exception_message']}."
    else:
        reason = diagnosis.summary
    return GitLabError(
        f"{migration.label} is {migration.state}, not finished. {reason} {diagnosis.meaning}",
        f"{diagnosis.remedy} A run of the same task goes on where this one stopped. Output: {job.log}, {job.errors}.",
        diagnosis=dict(diagnosis.to_dict(), last_error=last),
    )


def note_unwatched(track: Track, job: Job) -> None:
    """Note that a command failed before this run: it is tried again."""
    how = f"ended with exit status {job.rc}" if job.status == ENDED else "disappeared (killed, or a restart)"
    track["notes"].append(f"An earlier finalize {how} while nobody was watching; see {job.log}.")
