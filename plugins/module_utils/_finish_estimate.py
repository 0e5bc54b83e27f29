# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How long batched background migrations take: by Sidekiq, in the foreground, and side by side. All times in seconds."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, parse_moment

Migration = t.Mapping[str, t.Any]

SUCCEEDED = 3

# From the pace of the last jobs; no longer than something that is measured; from the batches that are left, before there is
# a pace; nothing is known.
MEASURED = "measured"
AT_MOST = "at_most"
PLANNED = "planned"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Duration:
    """How long something takes, and what that rests on. ``seconds`` is None only for :data:`UNKNOWN`."""

    seconds: float | None
    kind: str
    basis: str


class Work(t.NamedTuple):
    """Something that takes a slot, and keeps others off its table. ``seconds`` is None where that is not known."""

    id: str
    table: str
    seconds: float | None


class Span(t.NamedTuple):
    """When a work begins and ends, from now; None where that is not known."""

    begin: float | None
    end: float | None


def by_sidekiq(migration: Migration) -> Duration:
    """Return how long Sidekiq needs for what is left of an active migration, once it has its turn."""
    if migration["eta_seconds"] is not None:
        return Duration(float(migration["eta_seconds"]), MEASURED, str(migration["eta_basis"]))
    left, interval, size = _tuples_left(migration), migration["interval_seconds"], migration["batch_size"]
    if left and interval and size:
        batches = math.ceil(left / size)
        basis = f"{batches} batches of {size} are left by its plan, one each {in_words(interval)}"
        return Duration(float(batches * interval), PLANNED, basis)
    reason = str(migration["eta_basis"] or "no estimate: nothing is known of its pace")
    return Duration(None, UNKNOWN, reason)


def in_foreground(migration: Migration) -> Duration:
    """Return how long a finalize needs: it makes the same batches without the pauses between them."""
    left, job = _tuples_left(migration), migration["newest_job"]
    began, ended = (parse_moment(job[name]) if job else None for name in ("started_at", "finished_at"))
    if left and job and job["status"] == SUCCEEDED and job["batch_size"] and began and ended:
        # Both moments are cut to the second.
        took = (ended - began).total_seconds() + 1
        batches = math.ceil(left / job["batch_size"])
        basis = f"{batches} batches of {job['batch_size']}, of which the newest took {in_words(took)}"
        return Duration(batches * took, MEASURED, basis)
    waiting = by_sidekiq(migration)
    if waiting.kind == MEASURED:
        return Duration(waiting.seconds, AT_MOST, "no longer than Sidekiq with its pauses between the batches")
    return Duration(None, UNKNOWN, "no estimate: how long a batch takes is not known")


def spans(works: t.Sequence[Work], slots: int) -> dict[str, Span]:
    """Return when each work begins and ends, as GitLab takes them: in their order, ``slots`` at once, one for each table.

    What comes after a work of unknown length has no times, unless another slot reaches it.
    """
    waiting = list(works)
    running: dict[str, tuple[str, float]] = {}
    found = {one.id: Span(None, None) for one in works}
    now = 0.0
    while waiting or running:
        for one in list(waiting):
            busy = {table for table, _end in running.values()}
            if len(running) < slots and one.table not in busy:
                running[one.id] = (one.table, math.inf if one.seconds is None else now + one.seconds)
                found[one.id] = Span(now, None)
                waiting.remove(one)
        now = min(end for _table, end in running.values())
        if now == math.inf:
            break
        for name in [name for name, (_table, end) in running.items() if end == now]:
            found[name] = Span(found[name].begin, now)
            del running[name]
    return found


def _tuples_left(migration: Migration) -> int | None:
    progress = migration["progress"]
    total, done, percent = progress["total_tuples"], progress["done_tuples"], progress["percent"]
    if total is None:
        return None
    if done is None:
        done = math.floor(total * (percent or 0) / 100)
    return max(0, int(total) - int(done))
