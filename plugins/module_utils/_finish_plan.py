# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is to be done about each unfinished batched background migration, and why.

Reads a result of C(bbm_status) and knows no clock, no connection and no instance. Nothing unknown counts as in time, and nothing
is done that a person has not allowed.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_alone import (
    FINALIZE,
    NOTHING,
    OPERATOR,
    RETRY,
    WAIT,
    WAIT_FASTER,
    Decision,
    Instance,
    Means,
    Past,
    alone,
    foreground,
    how_far,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_estimate import (
    MEASURED,
    Duration,
    Span,
    Work,
    in_foreground,
    spans,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_queue import Candidate, Queue
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words

Migration = t.Mapping[str, t.Any]
Status = t.Mapping[str, t.Any]

# What is decided is done in this order: what needs a person stops everything; Sidekiq works on while the others are finalized.
ORDER = (OPERATOR, RETRY, FINALIZE, WAIT_FASTER, WAIT, NOTHING)
NEEDED = ("migrations", "unfinished", "blocking", "scheduler", "read_at", "gitlab_version")


@dataclass(frozen=True)
class Parallel:
    """How many migrations of one database run side by side. ``wanted`` is None where that stays as it is."""

    now: int
    wanted: int | None
    why: str

    @property
    def slots(self) -> int:
        return self.wanted or self.now


def plan(status: Status, means: Means, past: Past) -> dict[str, t.Any]:
    """Return what is to be done, as the filter C(finish_plan) documents it.

    :raises GitLabError: the status is none, or leaves some of the unfinished migrations out.
    """
    _check(status)
    instance = Instance.read(status)
    decided: dict[str, Decision] = {}
    candidates: list[Candidate] = []
    for migration in status["migrations"]:
        decision = alone(migration, instance, means, past)
        if decision is None:
            candidates.append(Candidate.read(migration, instance, means, past))
        else:
            decided[decision.id] = decision

    queues = [
        Queue([one for one in candidates if one.database == name], means.seconds_left)
        for name in dict.fromkeys(one.database for one in candidates)
    ]
    most = max(instance.slots, means.max_parallel) if instance.can_raise else instance.slots
    for queue in queues:
        for one in queue.give_up(most):
            decision = foreground(one.migration, instance, means, _too_slow(one, queue, most, means))
            decided[decision.id] = decision
    parallel = _parallel(queues, instance, most)
    for queue in queues:
        for one in queue.candidates:
            decided[one.id] = _waiting(one, queue, parallel, means)
    _estimate_finalizing(decided, means)
    decisions = sorted(decided.values(), key=lambda one: (ORDER.index(one.action), one.end or math.inf))
    return _result(status, decisions, parallel, instance, means, queues)


def _check(status: Status) -> None:
    if not isinstance(status, t.Mapping) or status.get("failed") or any(name not in status for name in NEEDED):
        raise GitLabError("This is no successful result of bbm_status.", "Give what a task with bbm_status registered.")
    missing = sorted(set(status["unfinished"]) - {migration["id"] for migration in status["migrations"]})
    if missing:
        raise GitLabError(
            f"The result of bbm_status leaves out {', '.join(missing)}, which is unfinished.",
            "Run bbm_status without filters, or with state: [unfinished] alone.",
        )


def _parallel(queues: t.Sequence[Queue], instance: Instance, most: int) -> Parallel:
    """Return the smallest number of slots with which as much as possible of what is waited for could be in time."""

    def beyond(slots: int) -> int:
        return sum(len(queue.beyond(slots)) for queue in queues)

    wanted = min(range(instance.slots, most + 1), key=beyond)
    if wanted == instance.slots:
        return Parallel(instance.slots, None, f"{instance.slots} side by side in each database, as it is set")
    better = [one.id for queue in queues for one in queue.beyond(instance.slots) if one not in queue.beyond(wanted)]
    return Parallel(
        instance.slots,
        wanted,
        f"{wanted} side by side in each database instead of {instance.slots}, for {', '.join(better)}",
    )


def _waiting(one: Candidate, queue: Queue, parallel: Parallel, means: Means) -> Decision:
    """Say why Sidekiq can be waited for."""
    span = queue.spans(parallel.slots)[one.id]
    in_time = queue.verdicts(parallel.slots)[one.id]
    faster = parallel.wanted is not None and one in queue.beyond(parallel.now)
    action = RETRY if one.retry else WAIT_FASTER if faster else WAIT
    words = [how_far(one.migration)]
    if one.retry:
        words.append("it failed, and its failed jobs get new attempts")
    if one.aside:
        words.append(one.aside)
    if faster:
        before = queue.spans(parallel.now)[one.id]
        words.append(f"with {parallel.now} side by side it {_ends(before, means)}")
        words.append(f"with {parallel.slots} it {_ends(span, means)}")
    elif span.end is not None:
        words.append(f"it {_ends(span, means)}")
    if one.duration.seconds is None or in_time is None:
        words.append(one.duration.basis)
    if span.begin:
        words.append(f"its turn comes in about {in_words(span.begin)}")
    if means.seconds_left is not None and in_time is None:
        words.append("whether that is in time is looked at again")
    return Decision(one.migration, action, "; ".join(words), one.duration, span.end, in_time)


def _too_slow(one: Candidate, queue: Queue, most: int, means: Means) -> str:
    left = means.seconds_left or 0.0
    if one.duration.seconds is None or one.disproved:
        return f"{one.duration.basis}, which is not in time for a deadline in {in_words(left)}"
    span = queue.spans_with(one, most)[one.id]
    if span.end is not None and span.end <= left:
        return (
            f"with {most} side by side it {_ends(span, means)}, but what comes after it would not: {one.duration.basis}"
        )
    return f"with {most} side by side it {_ends(span, means)}: {one.duration.basis}"


def _estimate_finalizing(decided: dict[str, Decision], means: Means) -> None:
    """Estimate the finalizing that was decided, and add it to the decisions."""
    chosen = [one for one in decided.values() if one.action == FINALIZE]
    lengths = {one.id: in_foreground(one.migration) for one in chosen}
    works = [
        Work(one.id, f"{one.migration['database']}.{one.migration['table_name']}", lengths[one.id].seconds)
        for one in chosen
    ]
    found = spans(works, means.finalize_parallel)
    for one in chosen:
        end, length = found[one.id].end, lengths[one.id]
        words = f"finalizing {_ends(found[one.id], means)} ({length.basis})" if end is not None else length.basis
        decided[one.id] = Decision(
            one.migration,
            FINALIZE,
            f"{one.why}; {words}",
            length,
            end,
            _finalized_in_time(end, lengths.values(), means),
        )


def _finalized_in_time(end: float | None, lengths: t.Iterable[Duration], means: Means) -> bool | None:
    if means.seconds_left is None or end is None:
        return None
    if end <= means.seconds_left:
        return True
    # Later than something that is only an upper limit is not certain.
    return False if all(one.kind == MEASURED for one in lengths) else None


def _ends(span: Span, means: Means) -> str:
    """Say when something ends, and how that lies to the deadline."""
    if span.end is None:
        return "has no known end"
    words = f"ends in about {in_words(span.end)}"
    if means.seconds_left is None:
        return words
    over = span.end - means.seconds_left
    return f"{words}, {in_words(abs(over))} {'past' if over > 0 else 'before'} the deadline"


def _result(
    status: Status,
    decisions: t.Sequence[Decision],
    parallel: Parallel,
    instance: Instance,
    means: Means,
    queues: t.Sequence[Queue],
) -> dict[str, t.Any]:
    actions = {name: [one.id for one in decisions if one.action == name] for name in ORDER}
    acting = [one for one in decisions if one.action not in (NOTHING, OPERATOR)]
    unfinished = [one for one in decisions if one.action != NOTHING]
    result: dict[str, t.Any] = {
        "done": not unfinished,
        "mode": means.mode,
        "seconds_left": means.seconds_left,
        "decisions": [one.to_result() for one in decisions],
        "actions": actions,
        "order": [one.id for one in acting],
        "parallel": {"now": parallel.now, "set": parallel.wanted, "why": parallel.why},
        "settings": instance.settings(parallel.wanted),
        "estimate": _estimate(unfinished, means),
        "too_late": [one.id for one in unfinished if one.in_time is False],
        "watch": [one.id for queue in queues for one in queue.watched(parallel.slots)],
        "look_again_seconds": _look_again(queues, parallel.slots, means),
    }
    result["lines"] = _lines(status, unfinished, result)
    return result


def _estimate(unfinished: t.Sequence[Decision], means: Means) -> dict[str, t.Any]:
    if not unfinished:
        return {"seconds": 0, "basis": "nothing is left", "in_time": None if means.seconds_left is None else True}
    ends = [one.end for one in unfinished if one.action != OPERATOR]
    unknown = [one.id for one in unfinished if one.action == OPERATOR or one.end is None]
    if unknown:
        return {"seconds": None, "basis": f"no estimate: that of {', '.join(unknown)} is not known", "in_time": None}
    seconds = math.ceil(max((end for end in ends if end is not None), default=0.0))
    kinds = sorted({one.duration.kind for one in unfinished if one.duration})
    verdicts = {one.in_time for one in unfinished}
    in_time: bool | None = False if False in verdicts else None if None in verdicts else True
    return {
        "seconds": seconds,
        "basis": f"the last one ends in about {in_words(seconds)} ({', '.join(kinds)})",
        "in_time": None if means.seconds_left is None else in_time,
    }


def _look_again(queues: t.Sequence[Queue], slots: int, means: Means) -> int:
    """Return after how many seconds the plan is to be made anew; 0 is not before something happens."""
    waiting = [one for queue in queues for one in queue.candidates]
    if means.seconds_left is None or not waiting:
        return 0
    learning = [one.learn_seconds for queue in queues for one in queue.watched(slots)]
    seconds = max(learning) if learning else max(means.review_seconds, means.seconds_left / 4)
    return max(1, math.ceil(min(seconds, means.seconds_left)))


def _lines(status: Status, unfinished: t.Sequence[Decision], result: t.Mapping[str, t.Any]) -> list[str]:
    if not unfinished:
        ignored = len(status["unfinished"])
        rest = f", but for {ignored} that can be ignored (see notes of bbm_status)" if ignored else ""
        return [f"All batched background migrations are finished{rest}."]
    left = result["seconds_left"]
    noun = "migration is" if len(unfinished) == 1 else "migrations are"
    deadline = "without a deadline" if left is None else f"the deadline is in {in_words(max(0.0, left))}"
    lines = [f"{len(unfinished)} batched background {noun} unfinished; {result['mode']}, {deadline}"]
    lines += [f"{one.action:<11}  {one.label}: {one.why}" for one in unfinished]
    if result["settings"]:
        lines.append(f"parallelism: {result['parallel']['why']}; put back at the end")
    lines.append(f"estimate: {result['estimate']['basis']}")
    if result["too_late"]:
        lines.append(f"too late: {', '.join(result['too_late'])}")
    background = status.get("background_migrations", {}).get("total")
    if background:
        lines.append(f"besides: {background} non-batched background migrations are pending, which Sidekiq works off")
    return lines
