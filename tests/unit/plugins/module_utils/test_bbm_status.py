# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_status import Reading, Selection, status
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rolling_back import Rollback
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._sidekiq_waiting import Waiting
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Topology, topology_from_option

Row = dict[str, t.Any]

EVERYTHING = Selection()
NONE_WAITS = Waiting({"queued": 0, "scheduled": 0, "retrying": 0})
ONE = topology_from_option({"main": "gitlabhq_production", "ci": "gitlabhq_production"})
TWO = topology_from_option({"main": "gitlabhq_production", "ci": "gitlabhq_production_ci"})

# to_jsonb of a row, as each version has it.
ROW_13_11: Row = {
    "id": 12,
    "created_at": "2026-11-19T08:00:00+00:00",
    "updated_at": "2026-11-20T07:58:00.5+00:00",
    "min_value": 1,
    "max_value": 1000000,
    "batch_size": 20000,
    "sub_batch_size": 1000,
    "interval": 120,
    "status": 1,
    "job_class_name": "CopyColumnUsingBackgroundMigrationJob",
    "batch_class_name": "Gitlab::BackgroundMigration::BatchingStrategies::PrimaryKeyBatchingStrategy",
    "table_name": "push_event_payloads",
    "column_name": "event_id",
    "job_arguments": [["event_id"], ["event_id_convert_to_bigint"]],
    "total_tuple_count": 800000,
    "pause_seconds": 0.1,
}
ROW_14_0 = {name: value for name, value in ROW_13_11.items() if name != "pause_seconds"}
ROW_14_0.update(pause_ms=100, batch_class_name="PrimaryKeyBatchingStrategy", job_arguments="[]")
ROW_14_9 = dict(ROW_14_0, job_arguments=[], max_batch_size=None, started_at="2026-11-19T09:00:00+00:00")
ROW_15_4 = dict(ROW_14_9, on_hold_until="2026-11-20T06:00:00+00:00", gitlab_schema="gitlab_main")
ROW_16_3 = dict(ROW_15_4, finished_at=None)
ROW_17_8 = dict(ROW_16_3, queued_migration_version="20240321051307", min_cursor=None, max_cursor=None)
ROW_18_8 = dict(
    ROW_17_8,
    min_value=None,
    max_value=None,
    min_cursor=[1, 1],
    max_cursor=[900, 7],
    table_name="gitlab_partitions_dynamic.ci_pipelines_103",
)

JOBS: Row = {
    "open": {
        "1": {
            "status": 1,
            "count": 1,
            "exhausted": 0,
            "keys": 20000,
            "oldest": "x",
            "latest": "2026-11-20T07:59:00+00:00",
        }
    },
    "succeeded": {"count": 10, "tuples": 200000, "all": True},
    "running": {"id": 11, "updated_at": "2026-11-20T07:59:00+00:00", "attempts": 1},
    "newest": {
        "id": 11,
        "status": 1,
        "attempts": 1,
        "min_value": 200001,
        "max_value": 220000,
        "batch_size": 20000,
        "sub_batch_size": 1000,
        "created_at": "2026-11-20T07:59:00+00:00",
        "started_at": "2026-11-20T07:59:00+00:00",
        "finished_at": None,
        "updated_at": "2026-11-20T07:59:00+00:00",
        "metrics": {},
    },
    "recent": [[1000.0, 1010.0, 20000, 20000], [1110.0, 1130.0, 20000, 20000]],
    "reached": {"max_value": 220000, "latest": "2026-11-20T07:59:00+00:00"},
}


def answers(*rows: Row, **parts: t.Any) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {
        "guards": [],
        "server": {"now": "2026-11-20T08:00:00+00:00", "standby": False},
        "migrations": list(rows),
        "jobs": {str(row["id"]): JOBS for row in rows if row["status"] not in (3, 6)},
        "errors": {},
        "vacuum": [],
        "workers": [row["id"] for row in rows],
        "flags": {},
        "max_running": None,
        "background": {},
        "unproven": [],
        "schema_down": [],
    }
    result.update(parts)
    return {name: value for name, value in result.items() if value != "absent"}


def read(
    version: str | None,
    *per_database: dict[str, t.Any],
    topology: Topology = ONE,
    selection: Selection = EVERYTHING,
    rolling_back: Rollback | None = None,
    sidekiq: Waiting | None = NONE_WAITS,
) -> dict[str, t.Any]:
    readings = [Reading(database, parts) for database, parts in zip(topology.databases, per_database, strict=True)]
    return status(version, readings, selection, rolling_back, sidekiq)


GOLDEN: Row = {
    "id": "main_12",
    "database": "main",
    "row_id": 12,
    "job_class_name": "CopyColumnUsingBackgroundMigrationJob",
    "table_name": "push_event_payloads",
    "column_name": "event_id",
    "job_arguments": [],
    "gitlab_schema": "gitlab_main",
    "status": 1,
    "state": "active",
    "created_at": "2026-11-19T08:00:00Z",
    "started_at": "2026-11-19T09:00:00Z",
    "finished_at": None,
    "updated_at": "2026-11-20T07:58:00Z",
    "on_hold_until": "2026-11-20T06:00:00Z",
    "interval_seconds": 120,
    "batch_size": 20000,
    "sub_batch_size": 1000,
    "queued_migration_version": "20240321051307",
    "progress": {"percent": 25.0, "done_tuples": 200000, "total_tuples": 800000, "basis": "tuples"},
    "rate": 166.67,
    "eta_seconds": 3600,
    "eta_basis": "600000 of 800000 tuples left at 166.7 tuples/s, as the last job in 2 min",
    "jobs": {"pending": 0, "running": 1, "failed": 0, "succeeded": 10, "exhausted": 0, "counted": True},
    "newest_job": {
        "id": 11,
        "status": 1,
        "attempts": 1,
        "min_value": 200001,
        "max_value": 220000,
        "min_cursor": None,
        "max_cursor": None,
        "batch_size": 20000,
        "sub_batch_size": 1000,
        "created_at": "2026-11-20T07:59:00Z",
        "started_at": "2026-11-20T07:59:00Z",
        "finished_at": None,
        "updated_at": "2026-11-20T07:59:00Z",
    },
    "last_activity": "2026-11-20T07:59:00Z",
    "last_error": None,
    "stalled": False,
    "stalled_reasons": [],
}
LATER = {"queued_migration_version": None}
SCHEMALESS = dict(LATER, gitlab_schema=None, on_hold_until=None)


@pytest.mark.parametrize(
    ("version", "row", "differences"),
    [
        (
            "13.12.15-ee",
            ROW_13_11,
            dict(SCHEMALESS, started_at=None, job_arguments=[["event_id"], ["event_id_convert_to_bigint"]]),
        ),
        ("14.0.12-ee", ROW_14_0, dict(SCHEMALESS, started_at=None)),
        ("14.9.5", ROW_14_9, SCHEMALESS),
        ("15.4.6-ee", ROW_15_4, LATER),
        ("16.3.9-ee", ROW_16_3, LATER),
        ("17.8.7-ee", ROW_17_8, {}),
        ("18.8.11-ee", ROW_18_8, {"table_name": "gitlab_partitions_dynamic.ci_pipelines_103"}),
    ],
)
def test_a_row_of_each_version(version: str, row: Row, differences: Row) -> None:
    result = read(version, answers(row))
    assert result["migrations"] == [dict(GOLDEN, **differences)]
    assert result["gitlab_version"] == version


def test_a_finished_row_asks_nothing_of_jobs() -> None:
    row = dict(ROW_17_8, status=6, finished_at="2026-11-20T03:00:00+00:00")
    shown = read("17.8.7-ee", answers(row))["migrations"][0]
    assert shown["state"] == "finalized"
    assert shown["progress"] == {"percent": 100.0, "done_tuples": None, "total_tuples": 800000, "basis": "finished"}
    assert shown["jobs"] == dict.fromkeys(("pending", "running", "failed", "succeeded", "exhausted"), None) | {
        "counted": False
    }
    assert shown["last_activity"] == "2026-11-20T03:00:00Z"
    assert (shown["stalled"], shown["eta_basis"], shown["newest_job"]) == (False, None, None)


@pytest.mark.parametrize(
    ("down", "words"),
    [
        pytest.param(["20210617022324"], ["main is down: 20210617022324; run them"], id="down"),
        pytest.param([], [], id="up"),
        pytest.param(None, ["whether schema migrations of main are down was not asked"], id="no files to compare"),
        pytest.param("absent", ["whether schema migrations of main are down was not asked"], id="no table"),
    ],
)
def test_only_schema_migrations_that_are_known_to_be_up_are_safe(down: t.Any, words: list[str]) -> None:
    result = read("17.8.7-ee", answers(dict(ROW_16_3, id=1, status=3), schema_down=down))
    assert result["safe_to_upgrade"] is (not words)
    assert result["databases"][0]["schema_migrations_down"] == (None if down == "absent" else down)
    assert len(result["reasons"]) == len(words)
    assert result["unasked"] == [reason for reason in result["reasons"] if "was not asked" in reason]
    assert all(word in reason for word, reason in zip(words, result["reasons"], strict=True))


def test_an_instance_on_its_way_back_is_not_safe_however_whole_it_looks() -> None:
    whole = answers(dict(ROW_16_3, id=1, status=3), schema_down=[])
    result = read("16.3.9-ee", whole, rolling_back=Rollback("b1"))
    assert (result["safe_to_upgrade"], result["rolling_back"]) == (False, "b1")
    assert [reason.partition(",")[0] for reason in result["reasons"]] == [
        "the instance is being rolled back to b1 and did not get to the end"
    ]
    assert read("16.3.9-ee", whole)["rolling_back"] is None
    with pytest.raises(GitLabError, match=r"is being rolled back to b1 .*Run the playbook rollback again"):
        read("16.3.9-ee", answers(migrations="absent"), rolling_back=Rollback("b1"))


def test_the_rest_of_the_result() -> None:
    main = answers(
        dict(ROW_16_3, id=1, status=3),
        dict(ROW_16_3, id=2),
        dict(ROW_16_3, id=3, status=4),
        errors={
            "3": {"job_id": 9, "exception_class": "A", "exception_message": "b", "at": "2026-11-20T07:00:00+01:00"}
        },
        background={"Old": 2},
    )
    main["schema_down"] = [f"2021061702232{number}" for number in range(7)]
    ci = answers(
        dict(ROW_16_3, id=1, status=0), background={"Old": 1, "Other": 4}, flags={"ignored": []}, schema_down=[]
    )
    result = read("16.3.9-ee", main, ci, topology=TWO)
    assert result["databases"] == [
        {
            "name": "main",
            "dbname": "gitlabhq_production",
            "connections": ["main"],
            "migrations": {"finished": 1, "active": 1, "failed": 1},
            "schema_migrations_down": [f"2021061702232{number}" for number in range(7)],
        },
        {
            "name": "ci",
            "dbname": "gitlabhq_production_ci",
            "connections": ["ci"],
            "migrations": {"paused": 1},
            "schema_migrations_down": [],
        },
    ]
    assert result["reasons"][-1] == (
        "7 schema migrations of main are down: 20210617022320, 20210617022321, 20210617022322, 20210617022323,"
        " 20210617022324 and 2 more; run them (db_migrate, or the playbook roll_forward)"
    )
    assert result["unfinished"] == ["main_2", "main_3", "ci_1"]
    assert result["by_state"] == {
        "finished": ["main_1"],
        "active": ["main_2"],
        "failed": ["main_3"],
        "paused": ["ci_1"],
    }
    assert result["background_migrations"] == {
        "pending": {"Old": 3, "Other": 4},
        "total": 7,
        "in_sidekiq": NONE_WAITS.numbers,
    }
    assert result["migrations"][2]["last_error"] == {
        "job_id": 9,
        "exception_class": "A",
        "exception_message": "b",
        "at": "2026-11-20T06:00:00Z",
    }
    assert result["read_at"] == "2026-11-20T08:00:00Z"
    assert result["safe_to_upgrade"] is False
    assert [reason.partition(":")[0] for reason in result["reasons"]] == [
        "1 batched background migration is paused",
        "1 batched background migration is active",
        "1 batched background migration is failed",
        "non-batched background migrations are pending",
        "7 schema migrations of main are down",
    ]


DONE = dict(ROW_16_3, status=3)
ROUTES = dict(ROW_14_0, status=4, job_class_name="BackfillNamespaceIdForNamespaceRoute", table_name="routes")


@pytest.mark.parametrize(
    ("version", "parts", "reasons"),
    [
        pytest.param("16.3.9", answers(DONE), [], id="all finished"),
        pytest.param("16.3.9", answers(dict(DONE, status=6)), [], id="finalized"),
        pytest.param("16.3.9", answers(), [], id="none at all"),
        pytest.param("16.3.9", answers(dict(DONE, status=5)), ["finalizing: Copy"], id="finalizing"),
        pytest.param(
            "16.3.9",
            answers(dict(DONE, status=2)),
            ["1 batched background migration is in a state that this collection does not know (unknown_2)"],
            id="a state of another age",
        ),
        pytest.param(
            "16.3.9",
            answers(DONE, background={"A": 1}),
            ["non-batched background migrations are pending: A (1)"],
            id="old kind",
        ),
        pytest.param(
            "14.9.5",
            answers(DONE, background={"PopulateTopicsNonPrivateProjectsCount": 2, "A": 1}),
            [
                "pending: A (1); wait until Sidekiq has worked them off, or re-attempt them (background_migrations with",
                "known to stick: PopulateTopicsNonPrivateProjectsCount (2); clear them (background_migrations with"
                " state: cleared and apply_remedies: [PopulateTopicsNonPrivateProjectsCount])",
            ],
            id="one that sticks",
        ),
        pytest.param(
            "14.3.6",
            answers(DONE, background={"MigrateMergeRequestDiffCommitUsers": 1}),
            ["pending: MigrateMergeRequestDiffCommitUsers (1)", "must be done before GitLab 14.5"],
            id="one that 14.5 would run",
        ),
        pytest.param("14.8.6", answers(ROUTES), [], id="a failure that can be ignored in 14.8"),
        pytest.param("14.9.5", answers(ROUTES), ["failed: BackfillNamespaceIdForNamespaceRoute"], id="and not in 14.9"),
        pytest.param("14.8.6", answers(dict(ROUTES, status=1)), ["is active"], id="nor when it has not failed"),
        pytest.param("16.3.9", answers(DONE, background="absent"), [], id="no table of the old kind"),
        pytest.param(
            "15.0.5",
            answers(DONE, background="absent"),
            ["whether non-batched background migrations are pending could not be read"],
            id="no table of the old kind where there must be one",
        ),
        pytest.param(
            None, answers(DONE, background="absent"), ["whether non-batched"], id="nor where the version is not known"
        ),
        pytest.param(
            "18.8.0",
            answers(DONE, unproven=[12]),
            ["1 batched background migration is finished without a job on a table that has rows: Copy"],
            id="finished without running",
        ),
        pytest.param(
            "18.8.0",
            answers(DONE, unproven=[12]),
            ["the cure is the upgrade to 18.10 or later (the next stop is 18.11, its newest patch)"],
            id="the cure is ahead",
        ),
        pytest.param(
            "18.10.1",
            answers(DONE, unproven=[12]),
            ["The schema migrations of this version run them: run db_migrate"],
            id="the cure is here",
        ),
        pytest.param(
            "16.3.9",
            answers(DONE, server={"now": "2026-11-20T08:00:00Z", "standby": True}),
            ["the database main was read from a standby"],
            id="standby",
        ),
        pytest.param(
            "16.3.9",
            answers(*(dict(ROW_16_3, id=number) for number in range(1, 9))),
            ["8 batched background migrations are active: "],
            id="many",
        ),
    ],
)
def test_safe_only_if_everything_is_proven(version: str | None, parts: Row, reasons: list[str]) -> None:
    result = read(version, parts)
    assert result["safe_to_upgrade"] is (not reasons)
    assert len(result["reasons"]) == len(reasons), result["reasons"]
    for reason, words in zip(result["reasons"], reasons, strict=True):
        assert words in reason


@pytest.mark.parametrize(
    ("version", "sidekiq", "words"),
    [
        pytest.param("14.10.5", NONE_WAITS, [], id="nothing waits"),
        pytest.param(
            "14.10.5",
            Waiting({"queued": 0, "scheduled": 2, "retrying": 1}),
            ["non-batched background migrations wait in Sidekiq: 2 scheduled, 1 retrying; run background_migrations"],
            id="without a row",
        ),
        pytest.param(
            "15.0.5", Waiting(None, "Redis does not answer"), ["not asked (Redis does not answer)"], id="down"
        ),
        pytest.param("15.0.5", None, ["not asked (only the databases were asked); run background"], id="by network"),
        pytest.param(None, None, ["not asked (only the databases were asked)"], id="without a version"),
        pytest.param("15.1.0", None, [], id="where there are none any more"),
    ],
)
def test_what_waits_in_sidekiq_alone_is_not_safe(
    version: str | None, sidekiq: Waiting | None, words: list[str]
) -> None:
    result = read(version, answers(DONE), sidekiq=sidekiq)
    assert result["safe_to_upgrade"] is (not words)
    assert len(result["reasons"]) == len(words), result["reasons"]
    assert all(word in reason for word, reason in zip(words, result["reasons"], strict=True))
    assert result["unasked"] == [reason for reason in result["reasons"] if "was not asked" in reason]
    assert result["background_migrations"]["in_sidekiq"] == (sidekiq.numbers if sidekiq else None)


def test_a_failure_that_can_be_ignored_is_said_and_stays_unfinished() -> None:
    result = read("14.8.6", answers(ROUTES))
    (note,) = result["notes"]
    assert "(main_12) has failed" in note and "can be ignored until 14.9" in note
    assert (result["unfinished"], result["blocking"]) == (["main_12"], [])
    later = read("14.9.5", answers(ROUTES))
    assert (later["notes"], later["blocking"]) == ([], ["main_12"])


def test_many_migrations_are_named_briefly() -> None:
    result = read("16.3.9", answers(*(dict(ROW_16_3, id=number) for number in range(1, 9))))
    assert "(main_5) and 3 more; wait for them" in result["reasons"][0]


def test_one_that_waits_for_its_turn_says_behind_whom() -> None:
    first, second = read("14.9.5", answers(dict(ROW_14_9, id=1), dict(ROW_14_9, id=2)))["migrations"]
    assert first["eta_seconds"] == 3600
    assert (second["stalled"], second["rate"]) == (False, None)
    assert second["eta_basis"] == "no estimate: it waits for its turn behind main_1"


def test_what_does_not_move_has_no_estimate() -> None:
    shown = read("16.3.9", answers(dict(ROW_16_3, status=0)))["migrations"][0]
    assert (shown["stalled"], shown["eta_seconds"], shown["rate"]) == (True, None, None)
    assert shown["eta_basis"] == "no estimate: it does not move"


def test_a_database_without_the_tables_is_an_error() -> None:
    with pytest.raises(GitLabError, match=r"gitlabhq_production_ci has no table .*older than 13.11"):
        read("13.10.0", answers(), answers(migrations="absent"), topology=TWO)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["main_1", "main_2", "ci_1"]),
        ({"database": ["ci"]}, ["ci_1"]),
        ({"state": ["unfinished"]}, ["main_2", "ci_1"]),
        ({"state": ["finished", "paused"]}, ["main_1", "ci_1"]),
        ({"job_class_name": "Other"}, ["ci_1"]),
        ({"table_name": "push_event_payloads"}, ["main_1", "main_2"]),
        ({"migrations": ["main_2", "ci_1"]}, ["main_2", "ci_1"]),
        ({"migrations": ["main_2"], "state": ["finished"]}, []),
    ],
)
def test_filters_narrow_what_is_shown_and_nothing_else(options: Row, ids: list[str]) -> None:
    main = answers(dict(ROW_16_3, id=1, status=3), dict(ROW_16_3, id=2))
    ci = answers(dict(ROW_16_3, id=1, status=0, job_class_name="Other", table_name="builds"))
    everything = read("16.3.9", main, ci, topology=TWO)
    result = read("16.3.9", main, ci, topology=TWO, selection=Selection.from_options(options, TWO))
    assert [migration["id"] for migration in result["migrations"]] == ids
    assert {**result, "migrations": []} == {**everything, "migrations": []}


def test_names_of_connections_that_share_a_database() -> None:
    selection = Selection.from_options({"database": ["ci"], "migrations": ["ci_12"]}, ONE)
    assert [row["id"] for row in read("16.3.9", answers(ROW_16_3), selection=selection)["migrations"]] == ["main_12"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"database": ["geo"]}, "no database 'geo'"),
        ({"migrations": ["85"]}, "'85' is not the id"),
        ({"migrations": ["sec_85"]}, "no database 'sec'"),
        ({"migrations": ["main_85"]}, "There is no batched background migration main_85"),
    ],
)
def test_what_does_not_exist_is_an_error(options: Row, words: str) -> None:
    with pytest.raises(GitLabError, match=words):
        read("16.3.9", answers(ROW_16_3), selection=Selection.from_options(options, ONE))


def test_an_answer_in_part_is_an_error() -> None:
    with pytest.raises(GitLabError, match="gitlabhq_production answered only in part"):
        read("16.3.9", {"migrations": []})
