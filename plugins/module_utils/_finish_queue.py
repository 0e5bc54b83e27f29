# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The migrations of one database that Sidekiq could finish: when each would be, and which must be given up for a deadline."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_alone import (
    Instance,
    Means,
    Past,
    held_words,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_estimate import (
    MEASURED,
    Duration,
    Span,
    Work,
    by_sidekiq,
    spans,
)

Migration = t.Mapping[str, t.Any]

# So many batches must have been due until there is a pace.
LEARN_INTERVALS = 3


@dataclass(frozen=True)
class Candidate:
    """A migration that is active, or failed and about to be retried."""

    migration: Migration = field(compare=False)
    id: str
    database: str
    row_id: int
    duration: Duration
    retry: bool
    # Why it takes no slot of Sidekiq's; empty where it takes one.
    aside: str
    # How long it takes until there is an estimate.
    learn_seconds: float
    # It was watched for as long, and there is still none.
    watched: bool

    @classmethod
    def read(cls, migration: Migration, instance: Instance, means: Means, past: Past) -> Candidate:
        held = instance.held_for(migration)
        aside = held_words(held) if held else ""
        if migration["state"] == "finalizing":
            aside = "somebody's finalize runs"
        interval = float(migration["interval_seconds"] or 0)
        return cls(
            migration=migration,
            id=str(migration["id"]),
            database=str(migration["database"]),
            row_id=int(migration["row_id"]),
            duration=by_sidekiq(migration),
            retry=migration["state"] == "failed",
            aside=aside,
            learn_seconds=held + max(means.review_seconds, LEARN_INTERVALS * interval),
            watched=migration["id"] in past.watched,
        )

    @property
    def measured(self) -> bool:
        return self.duration.kind == MEASURED

    @property
    def disproved(self) -> bool:
        """It had the time for its first batches, and made none: its plan says nothing."""
        return self.watched and not self.measured


class Queue:
    """The candidates of one database, in the order in which GitLab takes them."""

    def __init__(self, candidates: t.Iterable[Candidate], seconds_left: float | None) -> None:
        self.candidates = sorted(candidates, key=_place)
        self._left = seconds_left

    def spans(self, slots: int) -> dict[str, Span]:
        """Return when each begins and ends with so many slots."""
        return _spans(self.candidates, slots)

    def spans_with(self, one: Candidate, slots: int) -> dict[str, Span]:
        """Return the same as if ``one``, which was given up, were still among them."""
        return _spans(sorted([*self.candidates, one], key=_place), slots)

    def verdicts(self, slots: int) -> dict[str, bool | None]:
        """Return whether each is in time with so many slots; None where that is not known yet, or there is no deadline."""
        left = self._left
        if left is None:
            return {one.id: None for one in self.candidates}
        found = self.spans(slots)
        learning = {one.id for one in self._learning(found)}
        all_measured = all(one.measured for one in self.candidates)
        verdicts: dict[str, bool | None] = {}
        for one in self.candidates:
            begin, end = found[one.id]
            if one.id in learning:
                verdicts[one.id] = None
            elif one.disproved and begin == 0:
                verdicts[one.id] = False
            elif end is not None and end <= left:
                verdicts[one.id] = True if all_measured or (one.measured and begin == 0) else None
            else:
                # Behind one whose pace is about to be known, only what takes too long by itself is lost.
                hopeless = one.measured and (one.duration.seconds or 0) > left
                verdicts[one.id] = None if learning and not hopeless else False
        return verdicts

    def late(self, slots: int) -> list[Candidate]:
        """Return those that are not in time with so many slots."""
        verdicts = self.verdicts(slots)
        return [one for one in self.candidates if verdicts[one.id] is False]

    def beyond(self, slots: int) -> list[Candidate]:
        """Return those that are not known to end before the deadline with so many slots, not even by their plan."""
        left = self._left
        if left is None:
            return []
        found, late = self.spans(slots), self.late(slots)
        return [one for one in self.candidates if one in late or _after(found[one.id].end, left)]

    def watched(self, slots: int) -> list[Candidate]:
        """Return those whose estimate is worth to be waited for."""
        return [] if self._left is None else self._learning(self.spans(slots))

    def give_up(self, slots: int) -> list[Candidate]:
        """Take out what cannot be in time with so many slots, as little as possible, and return it."""
        everything = self.candidates
        late = self.late(slots)
        while late:
            worst = max(late, key=_longest)
            self.candidates = [one for one in self.candidates if one is not worst]
            late = self.late(slots)
        # What was given up early may have its place once a longer one is gone.
        for one in sorted(set(everything) - set(self.candidates), key=_longest):
            without = self.candidates
            self.candidates = [each for each in everything if each is one or each in without]
            if self.late(slots):
                self.candidates = without
        return [one for one in everything if one not in self.candidates]

    def _learning(self, found: t.Mapping[str, Span]) -> list[Candidate]:
        left = self._left or 0.0
        return [
            one
            for one in self.candidates
            if found[one.id].begin == 0 and not one.measured and not one.watched and one.learn_seconds <= left / 2
        ]


def _spans(candidates: t.Sequence[Candidate], slots: int) -> dict[str, Span]:
    taking = [
        Work(one.id, str(one.migration["table_name"]), one.duration.seconds) for one in candidates if not one.aside
    ]
    found = spans(taking, slots)
    found.update({one.id: Span(0.0, one.duration.seconds) for one in candidates if one.aside})
    return found


def _after(end: float | None, moment: float) -> bool:
    return end is None or end > moment


def _place(one: Candidate) -> int:
    return one.row_id


def _longest(one: Candidate) -> tuple[float, int]:
    unknown = one.duration.seconds is None or one.disproved
    return (math.inf if unknown else one.duration.seconds or 0.0, one.row_id)
