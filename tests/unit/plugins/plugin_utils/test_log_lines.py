# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import (
    MatchingLines,
    MigrationLines,
    RecipeLines,
    WholeLines,
)

FIRST = "main: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrating =========\n"
FIRST_END = "main: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrated (200.0335s)\n\n"
SECOND = "ci: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrating =========\n"


def test_each_migration_is_told_when_it_begins_and_once_a_minute_while_it_runs() -> None:
    lines = MigrationLines(3)
    assert lines.feed(f"noise\n{FIRST}main: -- transaction_open?(nil)\n", 0) == [
        "migration 1 of 3  20240321051307 FinalizeBackfillDefaultOrganizationUsers (main)"
    ]
    assert lines.feed("", 59) == []
    assert lines.feed("", 60) == [
        "migration 1 of 3  20240321051307 FinalizeBackfillDefaultOrganizationUsers (main)  for 1 min"
    ]
    assert lines.feed("", 90) == []
    assert lines.feed(FIRST_END + SECOND, 130) == [
        "migration 2 of 3  20240321051307 FinalizeBackfillDefaultOrganizationUsers (ci)"
    ]


def test_between_two_migrations_nothing_is_said() -> None:
    lines = MigrationLines(1)
    lines.feed(FIRST + FIRST_END, 0)
    assert lines.feed("", 500) == []


def test_versions_before_15_name_no_database_and_more_than_expected_is_no_contradiction() -> None:
    lines = MigrationLines(0)
    assert lines.feed("== 20151103134857 CreateLfsObjects: migrating =====\n", 0) == [
        "migration 1 of 1  20151103134857 CreateLfsObjects"
    ]


@given(st.lists(st.integers(1, len(FIRST + FIRST_END + SECOND) - 1), max_size=8))
def test_it_does_not_matter_where_a_look_cuts_the_log(cuts: list[int]) -> None:
    text = FIRST + FIRST_END + SECOND
    places = [0, *sorted(cuts), len(text)]
    lines = MigrationLines(2)
    said = [line for begin, end in pairwise(places) for line in lines.feed(text[begin:end], 0)]
    assert [line.split()[1] for line in said] == ["1", "2"]


@given(st.lists(st.text("ab\n", max_size=6), max_size=6))
def test_whole_lines_lose_nothing(pieces: list[str]) -> None:
    lines = WholeLines()
    text = "".join(pieces)
    assert "".join(lines.add(piece) for piece in pieces) == text[: text.rfind("\n") + 1]


def test_reconfigure_tells_its_recipes_but_not_each_of_them() -> None:
    lines = RecipeLines()
    assert lines.feed("Recipe: gitlab::default\n  * directory[/etc/gitlab] action create\n", 0) == [
        "reconfigure  1 resources  gitlab::default"
    ]
    assert lines.feed("Recipe: gitlab::puma\n  * x\n  * y\n", 5) == []
    assert lines.feed("Recipe: gitlab::sidekiq\n", 10) == ["reconfigure  3 resources  gitlab::sidekiq"]
    assert lines.feed("", 60) == []
    assert lines.feed("", 70) == ["reconfigure  3 resources  gitlab::sidekiq"]


def test_each_step_that_a_command_names_is_told_and_once_a_minute_the_one_that_takes_long() -> None:
    lines = MatchingLines("restore", re.compile(r"^(?:\S+ -- )?(Restoring .+?) \.\.\.", re.MULTILINE))
    assert lines.feed("noise\nRestoring uploads ...\n12:00 -- Restoring bu", 0) == ["restore  Restoring uploads"]
    assert lines.feed("ilds ... \n", 5) == ["restore  Restoring builds"]
    assert lines.feed("done\n", 64) == []
    assert lines.feed("", 65) == ["restore  Restoring builds  for 1 min"]
    assert lines.feed("", 66) == []


def test_a_pattern_without_a_group_shows_all_that_it_found() -> None:
    assert MatchingLines("package", re.compile(r"^Unpacking .*$", re.MULTILINE)).feed("Unpacking a (1)\n", 0) == [
        "package  Unpacking a (1)"
    ]
