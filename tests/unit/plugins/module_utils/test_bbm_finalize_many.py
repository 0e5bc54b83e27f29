# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _ruby_bbm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_many import (
    Course,
    check_parallel,
    command,
    in_words,
    lanes,
    read_courses,
    table_of,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import ANSWER_MARK

TABLES = ["events", "public.events", '"events"', "ci_builds", "gitlab_partitions_dynamic.ci_builds", "taggings"]


def migration(row_id: int, table: str = "events", database: str = "main", **columns: t.Any) -> BatchedMigration:
    row = {
        "id": row_id,
        "status": 1,
        "job_class_name": "BackfillX",
        "table_name": table,
        "column_name": "id",
        "job_arguments": [],
        **columns,
    }
    return BatchedMigration.from_row(database, row)


MIGRATIONS = st.lists(
    st.tuples(st.integers(1, 10**6), st.sampled_from(TABLES), st.sampled_from(["main", "ci"])),
    unique_by=lambda one: (one[2], one[0]),
    max_size=40,
).map(lambda found: [migration(*one) for one in sorted(found, key=lambda one: (one[2] == "ci", one[0]))])


@given(MIGRATIONS, st.integers(1, 8))
def test_everything_runs_once(migrations: list[BatchedMigration], parallel: int) -> None:
    everything = [one.id for lane in lanes(migrations, parallel) for one in lane]
    assert sorted(everything) == sorted(one.id for one in migrations)


@given(MIGRATIONS, st.integers(1, 8))
def test_no_two_lanes_have_a_table_in_common(migrations: list[BatchedMigration], parallel: int) -> None:
    tables = [{table_of(one) for one in lane} for lane in lanes(migrations, parallel)]
    assert sum(len(found) for found in tables) == len(set().union(*tables))


@given(MIGRATIONS, st.integers(1, 8))
def test_the_order_is_kept_inside_of_a_lane_and_among_the_first_of_each(
    migrations: list[BatchedMigration], parallel: int
) -> None:
    place = {one.id: number for number, one in enumerate(migrations)}
    found = [[place[one.id] for one in lane] for lane in lanes(migrations, parallel)]
    assert all(lane == sorted(lane) for lane in found)
    heads = [lane[0] for lane in found if lane]
    assert heads == sorted(heads)


@given(MIGRATIONS, st.integers(2, 8))
def test_different_tables_can_go_side_by_side(migrations: list[BatchedMigration], parallel: int) -> None:
    assert len(lanes(migrations, parallel)) == len({table_of(one) for one in migrations})


def test_one_at_a_time_is_the_order_of_the_ids() -> None:
    migrations = [migration(1), migration(2, "taggings"), migration(3)]
    assert lanes(migrations, 1) == [migrations]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (migration(1, "events"), migration(2, "public.events"), True),
        (migration(1, "gitlab_partitions_dynamic.ci_builds_100"), migration(2, "ci_builds_100"), True),
        (migration(1, '"events"'), migration(2, "events"), True),
        (migration(1, "events"), migration(1, "events", "ci"), False),
        (migration(1, "ci_builds"), migration(2, "ci_builds_metadata"), False),
    ],
)
def test_table_of(left: BatchedMigration, right: BatchedMigration, same: bool) -> None:
    assert (table_of(left) == table_of(right)) is same


@pytest.mark.parametrize("number", [0, -1, 9, 100])
def test_a_number_that_makes_no_sense_is_an_error(number: int) -> None:
    with pytest.raises(GitLabError, match=f"parallel cannot be {number}") as caught:
        check_parallel(number)
    assert "from 1 to 8" in (caught.value.remedy or "")


@pytest.mark.parametrize("number", [1, 8])
def test_the_ends_of_the_range_are_allowed(number: int) -> None:
    check_parallel(number)


@pytest.mark.parametrize("count", [2, 900])
def test_the_command_carries_any_number_of_rows_as_they_are_stored(count: int) -> None:
    stored = [None, "[]", [["é", 'quote " and ,']], {"a": 1}]
    migrations = [
        migration(number, f"table_{number % 7}", job_arguments=stored[number % 4]) for number in range(1, count)
    ]
    argv = command(migrations, 3, Installation.create("omnibus"))
    assert argv[:4] == ["/opt/gitlab/bin/gitlab-rails", "runner", "-e", "production"]
    assert argv[4] == _ruby_bbm.FINALIZE_MANY
    assert all(len(word.encode()) < 128 * 1024 for word in argv)
    value = json.loads("".join(argv[5:]))
    assert value["parallel"] == 3
    rows = {row["row_id"]: row for lane in value["lanes"] for row in lane}
    assert rows == {
        one.row_id: {
            "id": one.id,
            "session": f"gitlab_fleet_upgrade {one.id}",
            "database": "main",
            "row_id": one.row_id,
            "job_class_name": "BackfillX",
            "table_name": one.table_name,
            "column_name": "id",
            "job_arguments": one.row["job_arguments"],
        }
        for one in migrations
    }


def line(one: str, event: str, at: float, **more: t.Any) -> str:
    return f"\n{ANSWER_MARK}{json.dumps({'id': one, 'event': event, 'at': at, **more})}\n"


def test_what_the_process_tells_in_any_mixture() -> None:
    text = (
        "WARNING: deprecated\n"
        + line("main_1", "begin", 1.0)
        + line("ci_2", "begin", 2.0)
        + "noise\n"
        + line("main_1", "end", 3.0)
        + line("main_3", "begin", 3.5)
        + line("main_3", "end", 4.0, error="x.rb:1:in `perform': boom (ArgumentError)\u2028")
        + line("main_4", "begin", 5.0)
        + line("main_4", "end", 5.5, refused="Its status is 6.")
        + line("main_9", "end", 6.0)
        + f'{ANSWER_MARK}{{"id": "ci_2", "event": "en'
    )
    courses = read_courses(text)
    assert courses == {
        "main_1": Course(1.0, 3.0),
        "ci_2": Course(2.0),
        "main_3": Course(3.5, 4.0, error="x.rb:1:in `perform': boom (ArgumentError)\u2028"),
        "main_4": Course(5.0, 5.5, refused="Its status is 6."),
    }
    assert [one for one, course in courses.items() if course.did_nothing] == ["main_1"]


def test_in_words() -> None:
    assert in_words(["main_1"]) == "main_1"
    assert in_words(["main_1", "main_2", "ci_3"]) == "main_1, main_2, ci_3"
    assert in_words([f"main_{number}" for number in range(1, 8)]) == "main_1, main_2, main_3 and 4 more"
