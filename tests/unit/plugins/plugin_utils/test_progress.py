# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import (
    Throttle,
    migration_line,
    percent,
    rate,
    remaining,
)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "? %"), (0.0, "0 %"), (42.99, "42 %"), (99.99, "99 %"), (100.0, "100 %")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0 /s"),
        (0.4567, "0.457 /s"),
        (812.4, "812 /s"),
        (999.4, "999 /s"),
        (999.9, "1 k/s"),
        (12_345.0, "12.3 k/s"),
        (999_900.0, "1 M/s"),
        (1_234_567.0, "1.23 M/s"),
        (5e9, "5 G/s"),
    ],
)
def test_rate(value: float | None, text: str) -> None:
    assert rate(value) == text


@given(st.floats(min_value=1e-3, max_value=9.9e11))
def test_a_rate_is_short_and_means_its_value(value: float) -> None:
    number, unit = rate(value).split()
    size = {"/s": 1.0, "k/s": 1e3, "M/s": 1e6, "G/s": 1e9}[unit]
    assert "e" not in number and len(number) <= 8
    assert float(number) * size == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(("value", "text"), [(None, ""), (11400, "about 3 h 10 min left"), (0, "about 0 s left")])
def test_remaining(value: int | None, text: str) -> None:
    assert remaining(value) == text


MOVING: dict[str, t.Any] = {
    "job_class_name": "BackfillX",
    "id": "ci_7",
    "table_name": "projects",
    "state": "active",
    "progress": {"percent": 42.17},
    "rate": 1_200_000.0,
    "eta_seconds": 11400,
    "stalled": False,
    "stalled_reasons": [],
}


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ({}, "BackfillX on projects (ci_7)  42 %  1.2 M/s  about 3 h 10 min left"),
        ({"rate": None, "eta_seconds": None}, "BackfillX on projects (ci_7)  42 %"),
        (
            {"state": "finished", "progress": {"percent": 100.0}, "rate": None, "eta_seconds": None},
            "BackfillX on projects (ci_7)  finished  100 %",
        ),
        (
            {
                "state": "paused",
                "rate": None,
                "eta_seconds": None,
                "stalled": True,
                "stalled_reasons": ["it is paused", "b"],
            },
            "BackfillX on projects (ci_7)  paused  42 %  STALLED: it is paused; b",
        ),
    ],
)
def test_migration_line(differences: dict[str, t.Any], text: str) -> None:
    assert migration_line({**MOVING, **differences}) == text


def test_a_line_is_shown_when_something_is_new_or_after_a_minute() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    shown = []
    for at, key, state, done in [
        (0, "a", "active", 1.0),  # the first
        (1, "a", "active", 1.9),
        (2, "b", "active", 1.9),  # another one
        (3, "a", "active", 2.0),  # another percent
        (62, "a", "active", 2.5),
        (63, "a", "active", 2.5),  # a minute later
        (64, "a", "failed", 2.5),  # another state
        (65, "a", "failed", None),  # no percent any more
        (66, "a", "failed", None),
    ]:
        now = float(at)
        if throttle.due(key, state, done):
            shown.append(at)
    assert shown == [0, 2, 3, 63, 64, 65]
