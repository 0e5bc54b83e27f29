# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._backup_lines import BackupLines, EachLine

DATE = "2023-11-21 03:05:"
TEXT = (
    f"{DATE}01 UTC -- Dumping database ... \n{DATE}09 UTC -- Dumping database ... done\n"
    f"{DATE}09 UTC -- Dumping repositories ... \n{DATE}09 UTC -- Dumping repositories failed: no\n"
    f"{DATE}10 UTC -- Dumping uploads ... [SKIPPED]\n"
)
LINES = [
    "backup  database",
    "backup  database  done in 8 s",
    "backup  repositories",
    "backup  repositories  FAILED",
    "backup  uploads  skipped",
]


@given(st.lists(st.integers(1, len(TEXT) - 1), max_size=8))
def test_each_end_of_a_part_is_told_wherever_a_look_cuts_the_log(cuts: list[int]) -> None:
    lines = BackupLines()
    places = [0, *sorted(cuts), len(TEXT)]
    said = [line for begin, end in pairwise(places) for line in lines.feed(TEXT[begin:end], 0)]

    # A part that begins and ends between two looks has its end told alone.
    assert [line for line in LINES if line in said] == said
    assert {LINES[1], LINES[3], LINES[4]} <= set(said)


def test_a_part_that_takes_long_is_told_once_a_minute() -> None:
    lines = BackupLines()
    assert lines.feed(f"{DATE}01 UTC -- Dumping repositories ... \n", 0) == ["backup  repositories"]
    assert lines.feed("", 59) == []
    assert lines.feed("", 60) == ["backup  repositories  for 1 min"]
    assert lines.feed("", 61) == []


def test_whole_lines_alone_are_told() -> None:
    lines = EachLine()
    assert lines.feed("verify  1 %\nverify  2", 0) == ["verify  1 %"]
    assert lines.feed(" %\n", 1) == ["verify  2 %"]
