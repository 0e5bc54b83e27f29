# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, parse_moment

if t.TYPE_CHECKING:
    from datetime import datetime

TUPLES = "tuples"
KEY_RANGE = "key_range"
FINISHED = "finished"

# A gap this long between two jobs (in intervals, and at least in seconds) is a pause, not the pace.
GAP_INTERVALS = 10
GAP_SECONDS = 3600.0


class RecentJob(t.NamedTuple):
    """A succeeded job: when it ran (seconds since the epoch) and how much it covered."""

    started: float | None
    finished: float
    tuples: int
    # None for migrations that walk by cursor.
    keys: int | None


@dataclass(frozen=True)
class Jobs:
    """What is known of a migration's jobs, see C(JOBS) in :mod:`_bbm_sql`."""

    pending: int = 0
    running: int = 0
    failed: int = 0
    # Failed jobs that have no attempt left.
    exhausted: int = 0
    # None: more than were counted.
    succeeded: int | None = 0
    # Sum of the batch sizes of the succeeded jobs.
    tuples: int | None = 0
    # Keys in the ranges of jobs that have not succeeded.
    open_keys: int = 0
    # The highest key that any job covers.
    reached: int | None = None
    recent: tuple[RecentJob, ...] = ()
    newest: t.Mapping[str, t.Any] | None = None
    last_activity: datetime | None = None
    oldest_running: t.Mapping[str, t.Any] | None = None

    @classmethod
    def from_answer(cls, answer: t.Mapping[str, t.Any]) -> Jobs:
        """Read the answer of C(JOBS) for one migration."""
        by_status: dict[str, dict[str, t.Any]] = answer["open"]
        succeeded = answer["succeeded"]
        counted = bool(succeeded["all"])
        moments = [parse_moment(group["latest"]) for group in by_status.values()]
        moments.append(parse_moment(answer["reached"]["latest"]))
        return cls(
            pending=by_status.get("0", {}).get("count", 0),
            running=by_status.get("1", {}).get("count", 0),
            failed=by_status.get("2", {}).get("count", 0),
            exhausted=by_status.get("2", {}).get("exhausted", 0),
            succeeded=succeeded["count"] if counted else None,
            tuples=int(succeeded["tuples"]) if counted else None,
            open_keys=int(sum(group["keys"] or 0 for group in by_status.values())),
            reached=answer["reached"]["max_value"],
            recent=tuple(RecentJob(*values) for values in answer["recent"]),
            newest=answer["newest"],
            last_activity=max((moment for moment in moments if moment), default=None),
            oldest_running=answer["running"],
        )

    def to_result(self) -> dict[str, t.Any]:
        return {
            "pending": self.pending,
            "running": self.running,
            "failed": self.failed,
            "succeeded": self.succeeded,
            "exhausted": self.exhausted,
            "counted": self.succeeded is not None,
        }


@dataclass(frozen=True)
class Progress:
    """How far a migration is, in what it is counted by."""

    percent: float | None = None
    done: int | None = None
    total: int | None = None
    basis: str | None = None


@dataclass(frozen=True)
class Rate:
    """The pace by the clock on the wall: pauses between the batches included."""

    tuples: float
    keys: float | None
    jobs: int
    seconds: float


def progress(row: t.Mapping[str, t.Any], jobs: Jobs) -> Progress:
    """Return how far an unfinished migration is.

    By tuples, as GitLab does it: the batch sizes of the succeeded jobs of C(total_tuple_count). Where there are too many
    jobs to add up, or no total is known, by the range of keys that the jobs reached, less the ranges of open jobs.
    Never by jobs: they are created as the migration goes on, so that nearly all of them are always done.
    """
    total = row.get("total_tuple_count")
    if total and jobs.tuples is not None:
        return Progress(_percent(jobs.tuples, total), jobs.tuples, total, TUPLES)
    first, last = row.get("min_value"), row.get("max_value")
    if first is None or last is None or last < first:
        return Progress()
    keys = last - first + 1
    done = 0
    if jobs.reached is not None:
        done = max(0, min(keys, jobs.reached - first + 1) - jobs.open_keys)
    return Progress(_percent(done, keys), done, keys, KEY_RANGE)


def rate(jobs: Jobs, interval: float, finalizing: bool = False) -> Rate | None:
    """Return the pace of the last succeeded jobs since the last long pause, or None where there is none.

    One job alone is taken for one ``interval`` (seconds), unless it took longer or a finalize runs, which does not wait.
    """
    recent = sorted(jobs.recent, key=lambda job: job.finished)
    if not recent:
        return None
    longest = max(GAP_SECONDS, GAP_INTERVALS * interval)
    begin = len(recent) - 1
    while begin > 0 and recent[begin].finished - recent[begin - 1].finished <= longest:
        begin -= 1
    counted = recent[begin + 1 :]
    seconds = recent[-1].finished - recent[begin].finished
    if not counted or seconds <= 0:
        counted = recent[-1:]
        started = counted[0].started
        took = counted[0].finished - started if started is not None else 0.0
        seconds = took if finalizing else max(took, interval)
    if seconds <= 0:
        return None
    keys = None if any(job.keys is None for job in counted) else sum(job.keys or 0 for job in counted) / seconds
    return Rate(sum(job.tuples for job in counted) / seconds, keys, len(counted), seconds)


def eta(reading: Progress, pace: Rate | None) -> tuple[int | None, str]:
    """Return the seconds that are left and what that number rests on; or None and why there is none."""
    if reading.done is None or reading.total is None:
        return None, "no estimate: neither the number of tuples nor a range of keys is known"
    if pace is None:
        return None, "no estimate: no job has succeeded yet"
    by_keys = reading.basis == KEY_RANGE
    speed = pace.keys if by_keys else pace.tuples
    left = reading.total - reading.done
    unit = "keys" if by_keys else "tuples"
    if left <= 0:
        return None, f"no estimate: all {reading.total} {unit} are covered, what is left is not known"
    if not speed or speed <= 0:
        return None, "no estimate: the last jobs covered nothing"
    jobs = "the last job" if pace.jobs == 1 else f"the last {pace.jobs} jobs"
    basis = f"{left} of {reading.total} {unit} left at {speed:.4g} {unit}/s, as {jobs} in {in_words(pace.seconds)}"
    return math.ceil(left / speed), basis


def _percent(done: int, total: int) -> float:
    # Rounded down: 100 is shown only when it is reached.
    return min(100.0, math.floor(10000 * done / total) / 100)
