# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, iso, parse_moment


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20T07:22:44+00:00", "2026-11-20T07:22:44Z"),
        ("2026-11-20T13:07:44.1+05:45", "2026-11-20T07:22:44Z"),
        ("2026-11-20 02:22:44.123456-05", "2026-11-20T07:22:44Z"),
        # Rails' columns without a zone hold UTC.
        ("2026-11-20T07:22:44", "2026-11-20T07:22:44Z"),
        ("2026-11-20T07:22:44Z", "2026-11-20T07:22:44Z"),
        # Local mean time, before zones had whole minutes.
        ("1880-01-01T00:53:28+00:53:28", "1880-01-01T00:00:00Z"),
        ("infinity", None),
        ("10000-01-01T00:00:00+00:00", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("2026-13-20T07:22:44Z", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_moments_are_read_as_postgresql_writes_them(text: object, meant: str | None) -> None:
    assert iso(parse_moment(text)) == meant


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_a_moment_is_the_same_in_every_zone(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=UTC)
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_moment(there.isoformat()) == moment


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (11400, "3 h 10 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (200000, "2 d 7 h"),
        (8640000, "100 d"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
