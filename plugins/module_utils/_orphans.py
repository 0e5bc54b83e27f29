# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether anybody still works on a job that its row calls running.

A process that was killed leaves the row so, and GitLab's finalize then goes round in a tight loop until the row is
one hour old. Freeing a job that somebody works on would run its batch twice, so that doubt means: somebody does.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import JOB_MAX_ATTEMPTS, JOBS_TABLE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import parse_stat

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

# Gitlab::Database::BackgroundMigration::BatchedJob::STUCK_JOBS_TIMEOUT: from then on GitLab takes the job itself.
STUCK_SECONDS = 3600
# A batch is sized to take less than its interval, which is two minutes at least.
QUIET_SECONDS = 120
SAMPLE_SECONDS = 1.0

_RUBY = re.compile(r"(?:\S*/)?(?:ruby|bundle|sidekiq|rake|rails|irb|gitlab-)\S*\s")
_WORKS = re.compile(r"sidekiq|rake|rails|console", re.IGNORECASE)
_PUMA = re.compile(r"\bpuma\b")

OPEN_JOBS = f"""
SELECT id, status, attempts, extract(epoch FROM started_at)::float AS started_at,
  extract(epoch FROM clock_timestamp() - updated_at)::float AS age
FROM {JOBS_TABLE}
WHERE batched_background_migration_id = %(row_id)s::bigint
  AND (status = 1 OR (status = 2 AND attempts >= {JOB_MAX_ATTEMPTS}))
ORDER BY id"""

# Between two of its sub-batches a worker's session is idle for a moment. Whoever waits in finalize's loop asks the
# jobs table all the time and writes nothing. GitLab's sessions are those of the tables' owner.
SESSIONS = r"""
SELECT
  count(*) FILTER (WHERE query = '<insufficient privilege>' AND usesysid = (
    SELECT relowner FROM pg_class WHERE oid = to_regclass('batched_background_migration_jobs'))) AS hidden,
  count(*) FILTER (WHERE query ~* %(pattern)s AND (
    state <> 'idle' AND query_start < clock_timestamp() - interval '1 second'
    OR query ~* '\m(insert|update|delete|merge)\M'
      AND (state <> 'idle' OR state_change > clock_timestamp() - interval '2 seconds'))) AS working,
  count(*) FILTER (WHERE query ~* 'batched_background_migration' AND %(finalizer)s IN ('', application_name)
    AND query_start > clock_timestamp() - interval '1 second') AS waiting,
  count(*) FILTER (WHERE client_addr IS NOT NULL AND NOT client_addr <<= '127.0.0.0/8'
    AND client_addr NOT IN ('::1', coalesce(inet_server_addr(), '::1'))) AS remote
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

FREE = f"""
UPDATE {JOBS_TABLE} SET status = 2, finished_at = now(), updated_at = now()
WHERE id = ANY (string_to_array(%(ids)s, ',')::bigint[]) AND status = 1
RETURNING id"""

# For a finalize that goes round in circles: it asks first for jobs to retry, then for active ones, then for failed ones.
# A job that becomes failed in between ends the migration as failed; one that grew too old is retried in the next round.
AGE = f"""
UPDATE {JOBS_TABLE} SET updated_at = now() - interval '2 hours'
WHERE id = ANY (string_to_array(%(ids)s, ',')::bigint[]) AND status = 1
RETURNING id"""

RESET = f"""
UPDATE {JOBS_TABLE} SET attempts = 0, updated_at = now()
WHERE batched_background_migration_id = %(row_id)s::bigint AND status = 2 AND attempts >= {JOB_MAX_ATTEMPTS}
RETURNING id"""


class OpenJob(t.NamedTuple):
    """One row that is running, or failed with its attempts used up. Times in seconds, by the writer's clock."""

    id: int
    running: bool
    started_at: float | None
    age: float


class Sample(t.NamedTuple):
    """How many other sessions of the database do what, at one moment."""

    hidden: int
    working: int
    waiting: int
    remote: int


class Process(t.NamedTuple):
    """One process of this host; ``started_at`` in seconds of the epoch."""

    pid: int
    title: str
    started_at: float


def read_open_jobs(session: Session, migration: BatchedMigration) -> list[OpenJob]:
    """Return the jobs of a migration that can keep a finalize from ending."""
    rows = session.fetch(OPEN_JOBS, row_id=migration.row_id)
    return [OpenJob(int(row["id"]), row["status"] == 1, row["started_at"], float(row["age"])) for row in rows]


def sample(session: Session, table_name: str, finalizer: str = "") -> Sample:
    """Look at the other sessions once. Only the one with this C(application_name) counts as waiting, if it is given."""
    table = re.escape(table_name.rpartition(".")[2])
    return Sample(**session.fetch(SESSIONS, pattern=rf"\m{table}\M", finalizer=finalizer)[0])


def free(session: Session, jobs: t.Iterable[OpenJob], awaited: bool = False) -> list[int]:
    """Give abandoned jobs back to GitLab and return their ids; ``awaited`` if a finalize goes round in circles for them."""
    ids = ",".join(str(job.id) for job in jobs)
    return [int(row["id"]) for row in session.fetch(AGE if awaited else FREE, ids=ids)]


def reset_attempts(session: Session, migration: BatchedMigration) -> int:
    """Give exhausted jobs new attempts, as GitLab itself does at a finalize from 16.0 on."""
    return len(session.fetch(RESET, row_id=migration.row_id))


def ruby_processes() -> list[Process]:
    """Return this host's processes of GitLab that could run a batch; Puma never does."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    except (OSError, StopIteration) as error:
        raise GitLabError(f"Cannot read /proc/stat: {error}.", "Is /proc mounted on this host?") from error
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as file:
                title = file.read().replace("\0", " ")
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                stat = parse_stat(file.read())
        except OSError:
            # It ended while we were looking.
            continue
        if stat and can_run_batches(title):
            found.append(Process(stat[0], title.strip(), boot + stat[1] / os.sysconf("SC_CLK_TCK")))
    return found


def can_run_batches(title: str) -> bool:
    """Tell from its command line or title whether a process is one of GitLab's that runs batches."""
    return bool(_RUBY.match(title + " ") and _WORKS.search(title)) and not _PUMA.search(title)


def older_than(processes: t.Iterable[Process], started_at: float | None) -> list[Process]:
    """Return the processes that were there when a job began; boot time is known to the second only."""
    return [process for process in processes if started_at is None or process.started_at <= started_at + 2]


def is_proven_at_once(sample_: Sample, jobs: t.Sequence[OpenJob], processes: t.Sequence[Process]) -> bool:
    """Nobody can work on these jobs: no process here is old enough, and no other host is connected."""
    nobody_here = not any(older_than(processes, job.started_at) for job in jobs)
    return nobody_here and not (sample_.remote or sample_.working or sample_.hidden)


def is_abandoned(samples: t.Sequence[Sample]) -> bool:
    """Nobody worked on the table in all of the samples."""
    return bool(samples) and not any(one.working or one.hidden for one in samples)


def is_spinning(samples: t.Sequence[Sample]) -> bool:
    """In all of the samples nobody worked on the table, but somebody asked for the jobs again and again."""
    return is_abandoned(samples) and all(one.waiting for one in samples)


def suspects(jobs: t.Iterable[OpenJob]) -> list[OpenJob]:
    """Return the running jobs that GitLab would still wait for."""
    return [job for job in jobs if job.running and job.age < STUCK_SECONDS]
