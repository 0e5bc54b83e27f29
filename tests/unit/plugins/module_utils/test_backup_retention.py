# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_retention import Kept, to_remove

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86400


def backup(name: str, days: float, verified: bool = True) -> Kept:
    return Kept(name, NOW - timedelta(days=days), verified)


FOUR = [backup("d", 1), backup("c", 2, verified=False), backup("b", 3), backup("a", 4)]


@pytest.mark.parametrize(
    ("backups", "keep", "max_age", "gone"),
    [
        (FOUR, None, None, []),
        (FOUR, 4, None, []),
        (FOUR, 2, None, ["a"]),
        (FOUR, 1, None, ["a", "b", "c"]),
        (FOUR, None, 2 * DAY, ["a", "b"]),
        (FOUR, None, 0, ["a", "b", "c"]),
        ([backup("c", 1, verified=False), backup("b", 3)], 1, 0, ["c"]),
        ([backup("c", 1, verified=False), backup("b", 3, verified=False)], 1, 0, []),
        ([], 1, 0, []),
    ],
)
def test_what_goes(backups: list[Kept], keep: int | None, max_age: int | None, gone: list[str]) -> None:
    assert to_remove(backups, NOW, keep, (max_age and int(max_age)) or (0 if max_age == 0 else None)) == gone


BACKUPS = st.lists(st.tuples(st.integers(0, 30), st.booleans()).map(lambda one: (one[0], one[1])), max_size=12).map(
    lambda rows: [backup(f"b{place}", days, verified) for place, (days, verified) in enumerate(rows)]
)


@given(BACKUPS, st.none() | st.integers(1, 10), st.none() | st.integers(0, 40 * DAY))
def test_the_newest_verified_one_never_goes(backups: list[Kept], keep: int | None, max_age: int | None) -> None:
    gone = to_remove(backups, NOW, keep, max_age)

    verified = sorted((one for one in backups if one.verified), key=lambda one: (one.created_at, one.id))
    assert not verified or verified[-1].id not in gone
    assert set(gone) <= {one.id for one in backups}
    assert verified or not gone


@given(BACKUPS, st.integers(1, 10))
def test_by_count_as_many_verified_ones_stay_as_are_wanted(backups: list[Kept], keep: int) -> None:
    gone = to_remove(backups, NOW, keep)

    left = [one for one in backups if one.verified and one.id not in gone]
    assert len(left) == min(keep, sum(one.verified for one in backups))
