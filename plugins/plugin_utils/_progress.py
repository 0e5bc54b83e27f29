# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import math
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(value: float | None) -> str:
    """Return a percentage in whole numbers, rounded down: C(42 %), or C(? %)."""
    return "? %" if value is None else f"{math.floor(value)} %"


def rate(tuples: float | None) -> str:
    """Return a number of tuples each second: C(1.2 M/s), C(812 /s), C(0.5 /s); nothing for none."""
    if tuples is None:
        return ""
    for size, unit in _UNITS:
        # 999.95 thousand would round to 1000.0.
        if tuples >= 0.9995 * size:
            return f"{tuples / size:.3g} {unit}/s"
    return f"{tuples:.3g} /s"


def remaining(seconds: float | None) -> str:
    """Return the time left: C(about 3 h 10 min left); nothing if there is no estimate."""
    return "" if seconds is None else f"about {in_words(seconds)} left"


def migration_line(migration: t.Mapping[str, t.Any]) -> str:
    """Return what there is to know of one element of C(bbm_status)'s migrations, in one line."""
    # One class often copies columns of several tables, and several columns of one.
    words = [f"{migration['job_class_name']} on {migration['table_name']} ({migration['id']})"]
    if migration["state"] != "active":
        words.append(str(migration["state"]))
    words.append(percent(migration["progress"]["percent"]))
    words += [rate(migration["rate"]), remaining(migration["eta_seconds"])]
    if migration["stalled"]:
        words.append("STALLED: " + "; ".join(migration["stalled_reasons"]))
    return "  ".join(word for word in words if word)


class Throttle:
    """Lets a line through when there is something new in it, or when a while has passed.

    New is another state, or another whole percent. Each thing that is watched has its own key.
    """

    def __init__(self, seconds: float = 60.0, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._shown: dict[str, tuple[float, t.Hashable]] = {}

    def due(self, key: str, state: t.Hashable, percent_done: float | None = None) -> bool:
        """Return whether to show the line of ``key`` now; if so, it is taken as shown."""
        now = self._clock()
        content = (state, None if percent_done is None else math.floor(percent_done))
        if key in self._shown:
            at, shown = self._shown[key]
            if shown == content and now - at < self._seconds:
                return False
        self._shown[key] = (now, content)
        return True
