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
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import (
    RUNNER,
    Key,
    Selection,
    Verdict,
    command,
    judge,
    key_of,
    refuse,
    reset_needed,
    same_json,
    select,
    twins,
    untouched_reason,
    ways,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK, Cause
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import parse_task
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection, build_topology
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

COPY = "CopyColumnUsingBackgroundMigrationJob"
EVENT_ID = [["event_id"], ["event_id_convert_to_bigint"]]

ONE = build_topology([Connection("main", "gitlab")])
SHARED = build_topology([Connection("main", "gitlab"), Connection("ci", "gitlab", database_tasks=False)])
TWO = build_topology([Connection("main", "gitlab"), Connection("ci", "gitlab_ci")])


def version(text: str) -> GitLabVersion:
    return GitLabVersion.parse(text)


def migration(row_id: int = 85, database: str = "main", **columns: t.Any) -> BatchedMigration:
    row = {
        "id": row_id,
        "status": 1,
        "job_class_name": COPY,
        "table_name": "push_event_payloads",
        "column_name": "event_id",
        "job_arguments": EVENT_ID,
        **columns,
    }
    return BatchedMigration.from_row(database, row)


ALL = [
    migration(1, status=3, table_name="events", column_name="id", job_arguments=[["id"], ["id_convert_to_bigint"]]),
    migration(2, status=6, job_class_name="BackfillX", table_name="projects", column_name="id", job_arguments=[]),
    migration(
        3, status=4, job_class_name="BackfillY", table_name="projects", column_name="id", job_arguments=[None, "up"]
    ),
    migration(85),
    migration(
        3, "ci", status=0, job_class_name="BackfillZ", table_name="ci_builds", column_name="id", job_arguments=[]
    ),
    migration(4, "ci", status=5, job_class_name="BackfillX", table_name="projects", column_name="id", job_arguments=[]),
]


def ids(found: list[BatchedMigration]) -> list[str]:
    return [one.id for one in found]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["main_3", "main_85", "ci_3", "ci_4"]),
        (Selection(database="ci"), ["ci_3", "ci_4"]),
        (Selection(id="main_85"), ["main_85"]),
        (Selection(id="main_2"), ["main_2"]),
        (Selection(ids=("ci_4", "main_85", "ci_4")), ["main_85", "ci_4"]),
        (Selection(ids=()), []),
        (Selection(key=Key(COPY, "push_event_payloads", "event_id", EVENT_ID)), ["main_85"]),
        (Selection(key=Key("BackfillX", "projects", "id", [])), ["main_2", "ci_4"]),
        (Selection(key=Key("BackfillX", "projects", "id", []), database="ci"), ["ci_4"]),
        (Selection(key=Key("BackfillY", "projects", "id", [None, "up"])), ["main_3"]),
    ],
)
def test_select(selection: Selection, expected: list[str]) -> None:
    assert ids(select(selection, ALL)) == expected


@pytest.mark.parametrize(
    ("selection", "message", "near"),
    [
        # Other arguments, as with the documented null in the place of [].
        (Selection(key=Key("BackfillY", "projects", "id", ["up"])), 'with arguments \\["up"\\]', "main_3"),
        (Selection(key=Key(COPY, "push_event_payloads", "id", EVENT_ID)), "push_event_payloads.id", "main_85"),
        (Selection(key=Key("BackfillZ", "ci_builds", "id", []), database="main"), "in the database main", "ci_3"),
        (Selection(id="main_4"), "no batched background migration main_4", "ci_4"),
    ],
)
def test_what_does_not_exist_is_an_error_that_shows_what_comes_near(selection, message: str, near: str) -> None:
    with pytest.raises(GitLabError, match=message) as caught:
        select(selection, ALL)
    assert caught.value.details["near_matches"][0] == near
    assert near in caught.value.msg


def test_an_id_that_is_none_is_an_error() -> None:
    with pytest.raises(GitLabError, match="not the id"):
        select(Selection(id="85"), ALL)


def test_where_nothing_comes_near_the_error_says_so() -> None:
    with pytest.raises(GitLabError, match="Nothing comes near it"):
        select(Selection(key=Key("Other", "tables", "id", [])), ALL)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([], [], True),
        ([], None, False),
        ([1], [True], False),
        ([0], [False], False),
        ([1], [1.0], True),
        (["1"], [1], False),
        ([{"a": 1, "b": [True]}], [{"b": [True], "a": 1.0}], True),
        ([{"a": 1}], [{"a": True}], False),
        ([None], [], False),
        ([["a", None]], [["a", None]], True),
    ],
)
def test_same_json(left: t.Any, right: t.Any, expected: bool) -> None:
    assert same_json(left, right) is expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab,[]\\\"' é", max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_json_is_the_same_after_a_round_trip(value: t.Any) -> None:
    assert same_json(value, json.loads(json.dumps(value)))


@given(st.lists(JSON, max_size=4))
def test_the_task_carries_any_arguments_of_a_row(arguments: list[t.Any]) -> None:
    row = migration(job_arguments=arguments)
    way = ways(row, ONE, version("17.8.7"), [])[0]
    argv = command(way, row, Installation.create("omnibus"))
    name, (class_name, table, column, text) = parse_task(argv[1])
    assert (argv[0], name) == ("/opt/gitlab/bin/gitlab-rake", FINALIZE_TASK)
    assert (class_name, table, column) == (COPY, "push_event_payloads", "event_id")
    assert same_json(json.loads(text), arguments)


@given(st.lists(JSON, max_size=4))
def test_the_runner_gets_row_and_configuration_as_json(arguments: list[t.Any]) -> None:
    row = migration(10, "ci", job_arguments=arguments)
    argv = command(RUNNER, row, Installation.create("omnibus"))
    assert argv[:-2] == ["/opt/gitlab/bin/gitlab-rails", "runner", "-e", "production"]
    assert argv[-2] == _ruby_bbm.FINALIZE
    wanted = json.loads(argv[-1])
    assert same_json(wanted.pop("job_arguments"), arguments)
    assert wanted == {
        "database": "ci",
        "row_id": 10,
        "job_class_name": COPY,
        "table_name": "push_event_payloads",
        "column_name": "event_id",
    }


PLAIN, MAIN, CI = FINALIZE_TASK, f"{FINALIZE_TASK}:main", f"{FINALIZE_TASK}:ci"


@pytest.mark.parametrize(
    ("topology", "text", "database", "expected"),
    [
        (ONE, "14.1.0", "main", [PLAIN, RUNNER]),
        (ONE, "14.8.6", "main", [PLAIN, RUNNER]),
        (ONE, "14.9.0", "main", [PLAIN, MAIN, RUNNER]),
        (SHARED, "16.3.9", "main", [PLAIN, MAIN, RUNNER]),
        (TWO, "14.8.6", "main", [PLAIN, RUNNER]),
        (TWO, "17.8.7", "main", [MAIN, PLAIN, RUNNER]),
        (TWO, "17.8.7", "ci", [CI, PLAIN, RUNNER]),
    ],
)
def test_the_documented_way_comes_first(topology, text: str, database: str, expected: list[str]) -> None:
    assert ways(migration(database=database), topology, version(text), []) == expected


def test_where_the_task_was_seen_to_do_nothing_the_runner_is_used() -> None:
    assert ways(migration(database="ci"), TWO, version("17.8.7"), [], {"ci"}) == [RUNNER]
    assert ways(migration(), TWO, version("17.8.7"), [], {"ci"}) == [MAIN, PLAIN, RUNNER]


def test_a_row_of_the_same_configuration_in_main_rules_the_task_out() -> None:
    row = migration(4, "ci")
    others = twins(row, [*ALL, row])
    assert ids(others) == ["main_85"]
    assert ways(row, TWO, version("17.8.7"), others) == [RUNNER]


def test_a_twin_in_the_second_database_does_not_disturb_main() -> None:
    row = migration(85)
    assert twins(row, [*ALL, migration(4, "ci")]) == []


def test_a_finalized_twin_in_the_same_database_is_never_risked() -> None:
    row, twin = migration(90), migration(91, status=6)
    with pytest.raises(GitLabError, match="GitLab cannot tell them apart"):
        ways(row, ONE, version("17.8.7"), twins(row, [row, twin]))


@pytest.mark.parametrize("arguments", [None, "[]", "text"])
def test_arguments_that_are_no_list_go_through_the_runner_as_they_are_stored(arguments: t.Any) -> None:
    row = migration(job_arguments=arguments)
    assert ways(row, ONE, version("14.2.7"), []) == [RUNNER]
    assert json.loads(command(RUNNER, row, Installation.create("omnibus"))[-1])["job_arguments"] == arguments


def test_a_name_that_rake_cannot_carry_goes_through_the_runner() -> None:
    assert ways(migration(table_name="odd\nname"), ONE, version("17.8.7"), []) == [RUNNER]


def test_14_0_has_no_task_and_no_engine_that_could_finalize() -> None:
    with pytest.raises(GitLabError, match="cannot finalize") as caught:
        refuse(migration(), version("14.0.12"))
    assert "Sidekiq" in (caught.value.remedy or "")
    refuse(migration(), version("14.1.8"))


@pytest.mark.parametrize("status", [2, 7, 42])
def test_an_unknown_state_is_refused(status: int) -> None:
    with pytest.raises(GitLabError, match=f"has the status {status}"):
        refuse(migration(status=status), version("17.8.7"))


@pytest.mark.parametrize(
    ("status", "rc", "cause", "expected"),
    [
        (3, 0, Cause.NONE, Verdict.DONE),
        (6, 0, Cause.NONE, Verdict.DONE),
        # Somebody else finished it while ours failed.
        (3, 1, Cause.UNKNOWN, Verdict.DONE),
        (3, None, Cause.NONE, Verdict.DONE),
        (1, 0, Cause.NONE, Verdict.OTHER_WAY),
        (5, 0, Cause.NONE, Verdict.OTHER_WAY),
        (1, 1, Cause.DATABASE_NOT_SPECIFIED, Verdict.OTHER_WAY),
        (1, 1, Cause.UNKNOWN_TASK, Verdict.OTHER_WAY),
        (1, 1, Cause.BAD_JSON, Verdict.OTHER_WAY),
        (1, 1, Cause.MISSING_ARGUMENT, Verdict.OTHER_WAY),
        (5, 1, Cause.JOB_FAILED, Verdict.FAILED),
        (5, 137, Cause.INTERRUPTED, Verdict.FAILED),
        (5, None, Cause.NONE, Verdict.FAILED),
        (1, 1, Cause.DATABASE_DOWN, Verdict.FAILED),
    ],
)
def test_the_row_decides(status: int, rc: int | None, cause: Cause, expected: Verdict) -> None:
    assert judge(migration(status=status), rc, cause) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("14.2.7", True), ("15.11.13", True), ("16.0.0", False), ("17.8.7", False)]
)
def test_attempts_are_reset_where_gitlab_does_not(text: str, expected: bool) -> None:
    assert reset_needed(version(text)) is expected


def test_only_finished_and_finalized_need_nothing() -> None:
    reasons = {status: untouched_reason(migration(status=status)) for status in (0, 1, 3, 4, 5, 6, 9)}
    assert {status for status, reason in reasons.items() if reason} == {3, 6}
    assert key_of(migration()) == Key(COPY, "push_event_payloads", "event_id", EVENT_ID)
