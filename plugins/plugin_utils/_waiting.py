# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What C(bbm_wait) makes of one status after the other. Knows no connection, and no clock but the one that it is given."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_remedy
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, iso
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle, migration_line, remaining

Migration = t.Mapping[str, t.Any]
Status = t.Mapping[str, t.Any]

FINISHED = "finished"
PAUSED = "paused"
FAILED = "failed"
DELETED = "deleted"
DONE = frozenset({"finished", "finalized"})

# However long the wait, the history stays readable and small.
LONGEST_HISTORY = 400

_TIME_OF_DAY = re.compile(r"\A([01]?\d|2[0-3]):([0-5]\d)\Z")


def parse_deadline(text: str, now: datetime) -> datetime:
    """Read a time of day (the next one) or a moment; without a zone it is the zone of ``now``.

    :raises GitLabError: it is neither, or it has passed.
    """
    match = _TIME_OF_DAY.match(text.strip())
    if match:
        moment = now.replace(hour=int(match.group(1)), minute=int(match.group(2)), second=0, microsecond=0)
        return moment if moment > now else moment + timedelta(days=1)
    try:
        # Python before 3.11 knows no Z.
        moment = datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", text.strip()))
    except ValueError as error:
        raise GitLabError(
            f"The deadline {text!r} is neither a time of day nor a moment.",
            "Write 06:30 for the next half past six, or 2026-11-21T06:30.",
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    if moment <= now:
        raise GitLabError(f"The deadline {text} has passed.", "Give one that lies ahead.")
    return moment


@dataclass(frozen=True)
class Limits:
    """When to stop waiting. Seconds; 0 is no limit."""

    until: str = FINISHED
    at_most: int = 0
    timeout: float = 0
    stall_timeout: float = 0
    deadline: datetime | None = None


class Waiting:
    """Follows the chosen migrations of one instance from status to status.

    ``seconds`` are of any steady clock, ``moment`` is the time on the wall.
    """

    def __init__(self, limits: Limits, throttle: Throttle) -> None:
        self._limits = limits
        self._throttle = throttle
        self._seen: dict[str, dict[str, t.Any]] = {}
        self._began: float | None = None
        self._moved = 0.0
        self._still = 0.0
        self._stalled_since: dict[str, float] = {}
        self._stalled_for: dict[str, float] = {}
        self._signature: object = None
        self._history: list[dict[str, t.Any]] = []
        self._newest: dict[str, t.Any] = {}
        self._version: GitLabVersion | None = None
        self._ignored: frozenset[str] = frozenset()
        self._warned: set[str] = set()
        self._every = 1
        self._samples = 0
        self._elapsed = 0.0

    def observe(self, status: Status, seconds: float) -> list[str]:
        """Take a status in, and return the lines to show.

        Its C(migrations) are the chosen ones that are unfinished; those that were seen before may have finished since.
        """
        first = self._began is None
        began = seconds if self._began is None else self._began
        self._began, self._elapsed = began, seconds - began
        self._version = GitLabVersion.parse(status["gitlab_version"]) if status["gitlab_version"] else None
        # What blocks no upgrade (bbm_status says which, and why) is not waited for.
        self._ignored = frozenset(status["unfinished"]) - frozenset(status["blocking"])
        states = {str(name): state for state, names in status["by_state"].items() for name in names}
        current = {str(migration["id"]): dict(migration) for migration in status["migrations"]}
        for name, seen in self._seen.items():
            if name not in current:
                # Rows go only when GitLab deletes them; then nothing is left to wait for.
                state = states.get(name, DELETED)
                seen.update(state=state, rate=None, eta_seconds=None, stalled=False, stalled_reasons=[])
                if state in DONE:
                    seen["progress"] = dict(seen["progress"], percent=100.0)
        self._seen.update(current)
        self._follow(current, seconds)
        self._remember(status)
        lines = [self._opening()] if first else []
        return lines + [
            migration_line(migration)
            for name, migration in self._seen.items()
            if self._throttle.due(name, (migration["state"], migration["stalled"]), migration["progress"]["percent"])
        ]

    def left(self) -> list[str]:
        """Return the ids of the migrations that are not yet what is waited for."""
        return [name for name, migration in self._seen.items() if self._blocks(migration)]

    def reached(self) -> bool:
        """Return whether the wait is over."""
        return len(self.left()) <= self._limits.at_most

    def failure(self, moment: datetime) -> str | None:
        """Return why to give up now, with what to do next."""
        for name, migration in self._seen.items():
            if name not in self._ignored and self._never_ends(migration["state"]):
                return self._stopped(name, migration)
        limits = self._limits
        stuck = self._stuck()
        if stuck:
            return stuck
        if limits.timeout and self._elapsed >= limits.timeout:
            return f"After {in_words(self._elapsed)} (timeout), {self._what_is_left()}"
        if limits.deadline and moment >= limits.deadline:
            return f"At the deadline {iso(limits.deadline)}, {self._what_is_left()}"
        return None

    def warnings(self, moment: datetime) -> list[str]:
        """Return what is to be said of the deadline, each kind once."""
        found = {"late": self.late(moment), "unclear": self.unclear()}
        news = {kind: words for kind, words in found.items() if words and kind not in self._warned}
        self._warned |= set(news)
        return list(news.values())

    def unclear(self) -> str | None:
        """Return a warning if some have no estimate, such as those that wait for their turn behind the others."""
        unknown = [name for name in self.left() if self._seen[name]["eta_seconds"] is None]
        if self._limits.deadline is None or not unknown:
            return None
        bases = "; ".join(dict.fromkeys(str(self._seen[name]["eta_basis"]) for name in unknown))
        return f"whether the deadline {iso(self._limits.deadline)} is met cannot be told: {', '.join(unknown)}: {bases}"

    def late(self, moment: datetime) -> str | None:
        """Return a warning if the longest of the estimates is past the deadline."""
        estimates = [migration["eta_seconds"] for migration in self._seen.values() if migration["eta_seconds"]]
        if self._limits.deadline is None or not estimates:
            return None
        end = moment + timedelta(seconds=max(estimates))
        if end <= self._limits.deadline:
            return None
        over = in_words((end - self._limits.deadline).total_seconds())
        return (
            f"at this pace it takes {in_words(max(estimates))}, which is {over} past the deadline"
            f" {iso(self._limits.deadline)}; finalizing (bbm_finalize) or more parallel migrations can be faster"
        )

    def to_result(self) -> dict[str, t.Any]:
        """Return what is known of the wait."""
        return {
            "waited_for": [
                {
                    "id": name,
                    "job_class_name": migration["job_class_name"],
                    "table_name": migration["table_name"],
                    "state": migration["state"],
                    "percent": migration["progress"]["percent"],
                }
                for name, migration in self._seen.items()
            ],
            "left": self.left(),
            "stuck": self._stuck_ids(),
            "reached": self.reached(),
            "elapsed_seconds": int(self._elapsed),
            "history": self._whole_history(),
        }

    def _blocks(self, migration: Migration) -> bool:
        state = migration["state"]
        if state == DELETED or migration["id"] in self._ignored:
            return False
        if self._limits.until == PAUSED:
            running = migration["jobs"]["running"] if state == PAUSED else 0
            return state in ("active", "finalizing") or not _known(state) or bool(running)
        return state not in DONE

    def _never_ends(self, state: str) -> bool:
        return state == FAILED or not _known(state) or (state == PAUSED and self._limits.until != PAUSED)

    def _follow(self, current: t.Mapping[str, Migration], seconds: float) -> None:
        signature = [
            (name, row["state"], row["progress"]["percent"], row["last_activity"], tuple(row["jobs"].items()))
            for name, row in current.items()
        ]
        if signature != self._signature:
            self._signature, self._moved = signature, seconds
        self._still = seconds - self._moved
        self._stalled_since = {
            name: self._stalled_since.get(name, seconds) for name, row in current.items() if row["stalled"]
        }
        self._stalled_for = {name: seconds - since for name, since in self._stalled_since.items()}

    def _stuck_ids(self) -> list[str]:
        limit = self._limits.stall_timeout
        if not limit:
            return []
        stalled = [name for name, for_ in self._stalled_for.items() if for_ >= limit and self._blocks(self._seen[name])]
        return stalled or (self.left() if self._still >= limit else [])

    def _stuck(self) -> str | None:
        stuck = self._stuck_ids()
        if not stuck:
            return None
        name = stuck[0]
        if self._stalled_for.get(name, 0) >= self._limits.stall_timeout:
            reasons = "; ".join(self._seen[name]["stalled_reasons"])
            stalled = in_words(self._stalled_for[name])
            return f"{_label(self._seen[name])} has been stalled for {stalled} (stall_timeout): {reasons}."
        basis = next((self._seen[name]["eta_basis"] for name in stuck if self._seen[name]["eta_basis"]), None)
        return f"Nothing has moved for {in_words(self._still)} (stall_timeout), {self._what_is_left()}" + (
            f" {basis}." if basis else ""
        )

    def _stopped(self, name: str, migration: Migration) -> str:
        state = migration["state"]
        error = migration.get("last_error") or {}
        detail = f" Last error: {error['exception_class']}: {error['exception_message']}" if error else ""
        what = {PAUSED: "is paused, so it never ends", FAILED: "failed"}.get(
            state, f"is in {_bbm_remedy.UNKNOWN} ({state}), so nobody can tell whether it will ever end"
        )
        remedy = _bbm_remedy.remedy(state, [name], self._version)
        return f"{_label(migration)} {what}. {remedy[:1].upper()}{remedy[1:]}.{detail}"

    def _what_is_left(self) -> str:
        left = [self._seen[name] for name in self.left()]
        rows = "; ".join(f"{_label(row)} {migration_line(row).partition('  ')[2]}" for row in left)
        return f"{len(left)} of {len(self._seen)} are left: {rows}. They go on by themselves; wait again later."

    def _opening(self) -> str:
        left = self.left()
        if not left:
            return "nothing to wait for: no chosen batched background migration is left"
        noun = "migration is" if len(left) == 1 else "migrations are"
        words = [f"waiting until {len(left)} batched background {noun} {self._limits.until}"]
        estimates = [self._seen[name]["eta_seconds"] for name in left if self._seen[name]["eta_seconds"]]
        if estimates:
            words.append(remaining(max(estimates)))
        if len(estimates) < len(left):
            words.append(f"{len(left) - len(estimates)} without an estimate")
        return "  ".join(words)

    def _remember(self, status: Status) -> None:
        self._newest = {
            "at": status["read_at"],
            "left": len(self.left()),
            "migrations": {
                name: {
                    "state": row["state"],
                    "percent": row["progress"]["percent"],
                    "rate": row["rate"],
                    "eta_seconds": row["eta_seconds"],
                    "stalled": row["stalled"],
                }
                for name, row in self._seen.items()
            },
        }
        if self._samples % self._every == 0:
            self._history.append(self._newest)
        self._samples += 1
        if len(self._history) >= LONGEST_HISTORY:
            # Every second sample is enough from now on.
            del self._history[1::2]
            self._every *= 2

    def _whole_history(self) -> list[dict[str, t.Any]]:
        # The last sample is always in it.
        last = self._history[-1:] == [self._newest]
        return [*self._history, *([] if last else [self._newest])]


def now_here() -> datetime:
    """Return the time on the controller's wall."""
    return datetime.now(timezone.utc).astimezone()


def _known(state: str) -> bool:
    return state == DELETED or _bbm_remedy.known(state)


def _label(migration: Migration) -> str:
    return f"{migration['job_class_name']} on {migration['table_name']} ({migration['id']})"
