# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_retention import Kept, to_remove, ways_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86400
INSTALLED = GitLabVersion.parse("14.2.7")
FILES = ("repositories", "uploads")


def backup(name: str, days: float, verified: bool = True, version: str = "14.2.7", lacks: tuple[str, ...] = ()) -> Kept:
    return Kept(name, NOW - timedelta(days=days), verified, GitLabVersion.parse(version), frozenset(lacks))


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
    assert to_remove(backups, NOW, INSTALLED, keep, (max_age and int(max_age)) or (0 if max_age == 0 else None)) == gone


BEFORE = backup("before", 9, version="14.0.12")
FAILED = backup("failed", 1)


@pytest.mark.parametrize(
    ("backups", "gone"),
    [
        pytest.param([BEFORE, backup("data", 8, version="14.0.12", lacks=FILES)], [], id="the database alone is newer"),
        pytest.param(
            [BEFORE, backup("files", 8, version="14.0.12", lacks=("db",))], [], id="the files alone are newer"
        ),
        pytest.param([BEFORE, FAILED], [], id="of the failed state"),
        pytest.param([BEFORE, backup("mid", 2), FAILED], ["mid"], id="two of the failed state"),
        pytest.param([BEFORE, backup("late", 8, version="14.0.12")], ["before"], id="a newer one like it"),
        pytest.param(
            [backup("old", 12, version="13.12.15"), BEFORE, FAILED],
            ["old"],
            id="a newer one like it of a newer version",
        ),
        pytest.param(
            [BEFORE, backup("bare", 8, version="14.0.12", lacks=("configuration",))], [], id="no configuration"
        ),
        pytest.param(
            [backup("less", 10, version="14.0.12", lacks=FILES), backup("none", 10, False), BEFORE],
            ["less", "none"],
            id="a newer one that has more",
        ),
        pytest.param([BEFORE, backup("next", 1, version="14.4.5")], [], id="made before it was rolled back"),
    ],
)
def test_the_only_way_back_never_goes(backups: list[Kept], gone: list[str]) -> None:
    assert to_remove(backups, NOW, INSTALLED, keep=1) == gone
    # By its age no more goes: what stays is the only one of its kind.
    assert to_remove(backups, NOW, INSTALLED, max_age=0) == gone


BACKUPS = st.lists(st.tuples(st.integers(0, 30), st.booleans()).map(lambda one: (one[0], one[1])), max_size=12).map(
    lambda rows: [backup(f"b{place}", days, verified) for place, (days, verified) in enumerate(rows)]
)


@given(BACKUPS, st.none() | st.integers(1, 10), st.none() | st.integers(0, 40 * DAY))
def test_the_newest_verified_one_never_goes(backups: list[Kept], keep: int | None, max_age: int | None) -> None:
    gone = to_remove(backups, NOW, INSTALLED, keep, max_age)

    verified = sorted((one for one in backups if one.verified), key=lambda one: (one.created_at, one.id))
    assert not verified or verified[-1].id not in gone
    assert set(gone) <= {one.id for one in backups}
    assert verified or not gone


VERSIONS = st.sampled_from(["13.12.15", "14.0.12", "14.2.7", "14.4.5"])
LACKS = st.sampled_from([(), FILES, ("db",), ("configuration",)])
MIXED = st.lists(st.builds(backup, st.uuids().map(str), st.integers(0, 30), st.booleans(), VERSIONS, LACKS), max_size=8)


@given(MIXED, st.none() | st.integers(1, 3), st.none() | st.integers(0, 40 * DAY))
def test_what_can_be_rolled_back_to_before_can_be_rolled_back_to_after(
    backups: list[Kept], keep: int | None, max_age: int | None
) -> None:
    gone = to_remove(backups, NOW, INSTALLED, keep, max_age)
    left = [one for one in backups if one.id not in gone]

    assert ways_back(left, INSTALLED) == ways_back(backups, INSTALLED)
    older = [one for one in backups if one.verified and one.version < INSTALLED]
    for one in older:
        assert any(other.lacks <= one.lacks and other.version >= one.version for other in left if other in older)


@given(BACKUPS, st.integers(1, 10))
def test_by_count_as_many_verified_ones_stay_as_are_wanted(backups: list[Kept], keep: int) -> None:
    gone = to_remove(backups, NOW, INSTALLED, keep)

    left = [one for one in backups if one.verified and one.id not in gone]
    assert len(left) == min(keep, sum(one.verified for one in backups))
