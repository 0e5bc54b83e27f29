# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    ACTIVE,
    FAILED,
    FINALIZING,
    PAUSED,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_progress import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import Scheduler, on_hold_until
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, iso, parse_moment

# A batch starts every interval; the cron job that looks for due ones runs each minute.
QUIET_INTERVALS = 2
QUIET = timedelta(minutes=5)
# GitLab itself takes a job for dead after an hour (BatchedJob::STUCK_JOBS_TIMEOUT).
STUCK = timedelta(hours=1)
# Earlier, a job counts as abandoned only if no database session has to do with its table.
ABANDONED = timedelta(minutes=10)


@dataclass(frozen=True)
class Surroundings:
    """What else is known of the database at the moment of the reading."""

    now: datetime
    scheduler: Scheduler
    # Row ids of the active migrations that wait for their turn.
    waiting: frozenset[int] = frozenset()
    # Tables that autovacuum works on.
    vacuumed: frozenset[str] = frozenset()
    # When a migration of this database was done last: the next one has had its turn since then at the earliest.
    last_done: datetime | None = None
    # Row ids of migrations whose table a session works on; None when other users' sessions cannot be seen.
    worked_on: frozenset[int] | None = None


def stalled_reasons(migration: BatchedMigration, jobs: Jobs, around: Surroundings) -> list[str]:
    """Say why an unfinished migration does not move; nothing if it does, or if it waits for its turn."""
    if migration.status == PAUSED:
        return ["it is paused: nothing runs until it is resumed"]
    if migration.status == FAILED:
        return [_failed(jobs)]
    abandoned = _abandoned_job(migration, jobs, around)
    if migration.status == FINALIZING:
        return _finalizing(migration, jobs, around, abandoned)
    if migration.status != ACTIVE:
        return [f"its status {migration.status} is none that this collection knows"]
    reasons: list[str] = []
    stopped = around.scheduler.stopped_by
    if stopped:
        reasons.append(stopped)
    until = on_hold_until(migration, around.now)
    if until:
        reasons.append(f"it is on hold until {iso(until)}: GitLab found the database too busy")
    if abandoned:
        reasons.append(abandoned)
    elif not reasons and migration.row_id not in around.waiting and not jobs.running:
        reasons += _quiet(migration, jobs, around)
    if reasons and migration.table_name.rpartition(".")[2] in around.vacuumed:
        reasons.append(f"autovacuum is working on the table {migration.table_name}, which holds it up from 18.0 on")
    return reasons


def last_activity(migration: BatchedMigration, jobs: Jobs) -> datetime | None:
    """Return when a job of the migration last changed; without jobs, when it was started or created."""
    row = migration.row
    return jobs.last_activity or parse_moment(row.get("started_at")) or parse_moment(row.get("created_at"))


def _failed(jobs: Jobs) -> str:
    if not jobs.failed:
        return "it failed: retry it, or finalize it"
    return f"it failed, with {jobs.failed} failed jobs ({jobs.exhausted} of them without attempts left)"


def _finalizing(migration: BatchedMigration, jobs: Jobs, around: Surroundings, abandoned: str | None) -> list[str]:
    interrupted = "an interrupted finalize, which only another finalize resumes"
    if abandoned:
        return [abandoned, interrupted]
    since = last_activity(migration, jobs)
    changed = parse_moment(migration.row.get("updated_at"))
    latest = max((moment for moment in (since, changed) if moment), default=None)
    if jobs.running or latest is None or around.now - latest < ABANDONED:
        return []
    return [f"no job has moved for {_ago(latest, around)}: {interrupted}"]


def _abandoned_job(migration: BatchedMigration, jobs: Jobs, around: Surroundings) -> str | None:
    job = jobs.oldest_running
    moment = parse_moment(job["updated_at"]) if job else None
    if job is None or moment is None:
        return None
    unseen = around.worked_on is not None and migration.row_id not in around.worked_on
    age = around.now - moment
    if age < STUCK and not (unseen and age >= ABANDONED):
        return None
    evidence = ", and no database session works on its table" if unseen else ""
    return f"job {job['id']} is marked running but has not changed for {_ago(moment, around)}{evidence}"


def _quiet(migration: BatchedMigration, jobs: Jobs, around: Surroundings) -> list[str]:
    since = last_activity(migration, jobs)
    # A migration that was just resumed has old jobs and a new row.
    changed = parse_moment(migration.row.get("updated_at"))
    latest = max((moment for moment in (since, changed, around.last_done) if moment), default=None)
    interval = int(migration.row.get("interval") or 0)
    if latest is None or around.now - latest <= QUIET + QUIET_INTERVALS * timedelta(seconds=interval):
        return []
    return [
        f"no worker activity for {_ago(latest, around)}, where a batch is due every {in_words(interval)}:"
        " check that Sidekiq runs (gitlab-ctl status sidekiq), and if it does, whether this version of GitLab still has the"
        f" class {migration.job_class_name}"
    ]


def _ago(moment: datetime, around: Surroundings) -> str:
    return in_words((around.now - moment).total_seconds())
