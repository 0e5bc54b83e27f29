# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measuring several ways side by side."""

from __future__ import annotations

import statistics
import time
import typing as t

Way = t.Callable[[], object]


def measure(ways: t.Mapping[str, Way], rounds: int) -> dict[str, float]:
    """Return the seconds of each way: the middle of ``rounds``.

    Once unmeasured first, then in turns, so that what else the machine does meets all of them.
    """
    for way in ways.values():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _round in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
