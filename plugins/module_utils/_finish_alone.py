# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What its own state says about an unfinished migration, whatever the others do and however much time there is."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import (
    NO_DDL_FLAGS,
    ON_SCHEDULE,
    PARALLEL,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, parse_moment
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from datetime import datetime

    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_estimate import Duration

Migration = t.Mapping[str, t.Any]

SERVING = "serving"
DOWNTIME = "downtime"
MODES = (SERVING, DOWNTIME)

OPERATOR = "operator"
RETRY = "retry"
FINALIZE = "finalize"
WAIT_FASTER = "wait_faster"
WAIT = "wait"
NOTHING = "nothing"

DONE = ("finished", "finalized")
# Gitlab::Database::BackgroundMigration::BatchedMigrationRunner.finalize, and BatchedMigration#retry_failed_jobs!.
FIRST_WITH_FINALIZE = (14, 1)
FIRST_WITH_RETRY = (14, 3)


@dataclass(frozen=True)
class Means:
    """What may be done, and in what time. Seconds; ``seconds_left`` is None without a deadline."""

    mode: str = SERVING
    seconds_left: float | None = None
    # The most migrations of one database that may run side by side; 0 leaves that as it is.
    max_parallel: int = 0
    allow_finalize: bool = False
    allow_retry: bool = False
    allow_paused: bool = False
    finalize_parallel: int = 1
    # How long to watch at least before a plan is made anew.
    review_seconds: float = 300


@dataclass(frozen=True)
class Past:
    """What this run has done already, by the ids of migrations."""

    retried: frozenset[str] = frozenset()
    # Waited for as long as it should take until there is an estimate.
    watched: frozenset[str] = frozenset()
    # Waited for without anything moving.
    stuck: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """What is to be done about one migration. ``in_time`` is None where that is not known, or there is no deadline."""

    migration: Migration
    action: str
    why: str
    duration: Duration | None = None
    # In how many seconds it is finished.
    end: float | None = None
    in_time: bool | None = None

    @property
    def id(self) -> str:
        return str(self.migration["id"])

    @property
    def label(self) -> str:
        return f"{self.migration['job_class_name']} on {self.migration['table_name']} ({self.id})"

    def to_result(self) -> dict[str, t.Any]:
        return {
            "id": self.id,
            "job_class_name": self.migration["job_class_name"],
            "table_name": self.migration["table_name"],
            "state": self.migration["state"],
            "percent": self.migration["progress"]["percent"],
            "action": self.action,
            "why": self.why,
            "seconds": None if self.end is None else math.ceil(self.end),
            "basis": self.duration.kind if self.duration else None,
            "in_time": self.in_time,
        }


@dataclass(frozen=True)
class Instance:
    """What the status says of the instance as a whole."""

    now: datetime | None
    version: GitLabVersion | None
    # How many migrations of one database run side by side, and whether that can be changed and put back.
    slots: int
    can_raise: bool
    # The flag that is off, without which side by side means nothing (15.7 to 16.0).
    needs_flag: bool
    stopped: str | None
    # The ids of unfinished migrations that block no upgrade.
    ignored: frozenset[str]

    @classmethod
    def read(cls, status: t.Mapping[str, t.Any]) -> Instance:
        scheduler = status["scheduler"]
        parallel = scheduler[PARALLEL]["enabled"]
        most = scheduler["max_running"]
        stopped = None
        if scheduler[ON_SCHEDULE]["enabled"] is False:
            stopped = f"the feature flag {ON_SCHEDULE} is off, so that Sidekiq starts no batch"
        elif scheduler[NO_DDL_FLAGS]["enabled"]:
            stopped = f"the feature flag {NO_DDL_FLAGS} is on, which stops all batched background migrations"
        return cls(
            now=parse_moment(status["read_at"]),
            version=GitLabVersion.parse(status["gitlab_version"]) if status["gitlab_version"] else None,
            slots=int(most) if most and parallel else 1,
            can_raise=bool(most) and parallel is not None,
            needs_flag=parallel is False,
            stopped=stopped,
            ignored=frozenset(status["unfinished"]) - frozenset(status["blocking"]),
        )

    def settings(self, parallel: int | None) -> dict[str, t.Any]:
        """Return the options of C(bbm_settings) for so many side by side."""
        if parallel is None:
            return {}
        return {"max_running": parallel, **({PARALLEL: True} if self.needs_flag else {})}

    def held_for(self, migration: Migration) -> float:
        """Return for how many seconds more GitLab holds a migration back, because its database is busy."""
        until = parse_moment(migration["on_hold_until"])
        if until is None or self.now is None:
            return 0.0
        return max(0.0, (until - self.now).total_seconds())

    def lacks(self, first: tuple[int, int]) -> str | None:
        """Say why something that came with a version is not possible; None where it is."""
        if self.version is None:
            return "GitLab's version could not be read"
        return None if self.version.minor >= first else f"GitLab {self.version} cannot"


def alone(migration: Migration, instance: Instance, means: Means, past: Past) -> Decision | None:
    """Return what its state alone decides about a migration; None where Sidekiq can finish it, given the time."""
    state = migration["state"]
    if state in DONE:
        return Decision(migration, NOTHING, f"it is {state}", None, 0.0, True)
    if migration["id"] in instance.ignored:
        why = f"it is {state}, which can be ignored in this version of GitLab (see notes of bbm_status)"
        return Decision(migration, NOTHING, why, None, 0.0, True)
    judge = {"paused": _paused, "failed": _failed, "finalizing": _finalizing, "active": _active}.get(state)
    if judge is None:
        return Decision(
            migration,
            OPERATOR,
            f"its state {state} is none that this collection knows; update the collection, or ask GitLab what it means",
        )
    if means.seconds_left is not None and means.seconds_left <= 0:
        why = f"{how_far(migration)}; it is {state}, and the deadline has passed; give a later one"
        return Decision(migration, OPERATOR, why, in_time=False)
    return judge(migration, instance, means, past)


def foreground(migration: Migration, instance: Instance, means: Means, why: str) -> Decision:
    """Finalize, where that is possible and allowed."""
    reason = f"{how_far(migration)}; {why}"
    lacking = instance.lacks(FIRST_WITH_FINALIZE)
    if lacking:
        return Decision(migration, OPERATOR, f"{reason}; only finalizing would help, which is not possible: {lacking}")
    if not means.allow_finalize:
        return Decision(
            migration, OPERATOR, f"{reason}; only finalizing would help, which is not allowed (allow_finalize)"
        )
    return Decision(migration, FINALIZE, reason)


def how_far(migration: Migration) -> str:
    """Say how far a migration is."""
    percent = migration["progress"]["percent"]
    return "how far it is cannot be told" if percent is None else f"{percent:g} % done"


def _paused(migration: Migration, instance: Instance, means: Means, past: Past) -> Decision:
    if not means.allow_paused:
        why = "somebody paused it, and only a person knows why; resume it (bbm_state), or allow it to be finalized (allow_paused)"
        return Decision(migration, OPERATOR, f"{how_far(migration)}; {why}")
    return foreground(migration, instance, means, "it is paused, and may be finished all the same")


def _failed(migration: Migration, instance: Instance, means: Means, past: Past) -> Decision | None:
    failed = migration["jobs"]["failed"]
    error = migration["last_error"]
    words = f"it failed{f' with {failed} failed jobs' if failed else ''}"
    if error:
        words += f", last of {error['exception_class']}: {_one_line(error['exception_message'])}"
    look = "see the error of each job (bbm_retry in check mode), and repair what it tells of"
    if migration["id"] in past.retried:
        return Decision(migration, OPERATOR, f"{words}; it was tried again already and failed again; {look}")
    if not means.allow_retry:
        return Decision(migration, OPERATOR, f"{words}; trying it again is not allowed (allow_retry); {look}")
    pointless = _no_sidekiq(instance, means) or instance.lacks(FIRST_WITH_RETRY)
    if pointless:
        return foreground(migration, instance, means, f"{words}; finalizing gives its jobs new attempts; {pointless}")
    return None


def _finalizing(migration: Migration, instance: Instance, means: Means, past: Past) -> Decision | None:
    if migration["stalled"] or migration["id"] in past.stuck or means.mode == DOWNTIME:
        reasons = "; ".join(migration["stalled_reasons"]) or "a finalize was begun, which only another one takes up"
        return foreground(migration, instance, means, reasons)
    if means.allow_finalize and not instance.lacks(FIRST_WITH_FINALIZE):
        return foreground(migration, instance, means, "a finalize runs already, which is taken up and waited for")
    return None


def _active(migration: Migration, instance: Instance, means: Means, past: Past) -> Decision | None:
    pointless = _no_sidekiq(instance, means)
    if pointless is None and migration["id"] in past.stuck:
        pointless = "nothing of it has moved while it was waited for"
    if pointless is None and migration["stalled"] and not instance.held_for(migration):
        pointless = "; ".join(migration["stalled_reasons"])
    if pointless is None:
        return None
    return foreground(migration, instance, means, f"waiting is pointless: {pointless}")


def _no_sidekiq(instance: Instance, means: Means) -> str | None:
    if means.mode == DOWNTIME:
        return "in a downtime nothing is waited for"
    return instance.stopped


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def held_words(seconds: float) -> str:
    """Say that GitLab holds a migration back."""
    return f"on hold for {in_words(seconds)} more, because GitLab found the database too busy"
