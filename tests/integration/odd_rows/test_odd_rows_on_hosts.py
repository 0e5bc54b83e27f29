# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows that are hard to name, to run or to understand, through every module: arguments, a schema, a class that is gone,
states of another age. On an enum with one database, and in the second database of the newest version."""

from __future__ import annotations

import json
import typing as t

import pytest
from bbm_places import ENDS, ENUM, HOSTS, LAST, Place, Rows
from instances import Instances

PLACES = [Place(ENUM), Place(LAST, "ci")]
GATES: dict[str, t.Any] = {"reason": "told so by support", "accept_data_loss": True, "without_backup": True}

ARGUMENTS: list[list[t.Any]] = [
    [None, "up"],
    [[["id"], ["id_convert_to_bigint"], None], {"k": [1, 1.5, True, {}]}, []],
    ["single ' and double \" and two '' of them", 'a\\b \\\\ \\" end\\'],
    ["comma, , [bracket] ] [ (paren) {brace}", " blank ", ""],
    ["héllo ✓ 日本 \U0001f980", "$HOME `id` %s %(x)s :'x' ;--", "line\nnext\ttab"],
]
SCHEMA_TABLE = "gitlab_partitions_dynamic.ci_pipelines_103"
GONE = "BackfillThatTheUpgradeRemoved"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("odd") as instances:
        instances.up({ENUM: HOSTS[ENUM], LAST: ENDS[LAST]})
        for place in PLACES:
            # The rows are the tests'; no worker may take them.
            instances.sh(place.host, "gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[2000]'")
            Rows(instances, place).sql(
                "CREATE SCHEMA IF NOT EXISTS gitlab_partitions_dynamic;"
                f" CREATE TABLE {SCHEMA_TABLE} (id bigint PRIMARY KEY, id_convert_to_bigint bigint NOT NULL DEFAULT 0);"
                f" INSERT INTO {SCHEMA_TABLE} (id) SELECT generate_series(1, 2000);"
                f" ALTER TABLE {SCHEMA_TABLE} OWNER TO gitlab; ALTER SCHEMA gitlab_partitions_dynamic OWNER TO gitlab"
            )
        yield instances


@pytest.fixture(params=PLACES, ids=lambda place: f"{place.host}-{place.database}")
def rows(fleet: Instances, request: pytest.FixtureRequest) -> Rows:
    found = Rows(fleet, request.param)
    found.clear()
    return found


def literal(value: t.Any) -> str:
    return "'" + json.dumps(value).replace("'", "''") + "'"


def key(rows: Rows, arguments: t.Any) -> dict[str, t.Any]:
    table = "ci_stages" if rows.place.database == "ci" else "taggings"
    return {"job_class_name": "NoArgsJob", "table_name": table, "column_name": "id", "job_arguments": arguments}


def states(result: dict[str, t.Any]) -> list[str]:
    assert not result["failed"], result
    return [one["after"]["state"] for one in result["migrations"]]


def test_arguments_of_any_shape_reach_their_row(rows: Rows) -> None:
    numbers = [rows.add_failed(job_arguments=literal(arguments)) for arguments in ARGUMENTS]
    ids = [rows.id(number) for number in numbers]
    before = rows.all()
    cases = [key(rows, arguments) for arguments in ARGUMENTS]
    named = [(module, case) for module in ("bbm_retry", "bbm_finalize") for case in cases]
    status, waited, *found = rows.fleet.run_tasks(
        rows.place.host, [("bbm_status", {}), ("bbm_wait", {"migrations": ids}), *named], check=True
    )
    assert [row["job_arguments"] for row in status["migrations"]] == ARGUMENTS
    assert waited["left"] == ids
    assert [one["migrations"][0]["id"] for one in found] == ids * 2
    assert [one["migrations"][0]["job_arguments"] for one in found] == ARGUMENTS * 2
    assert rows.all() == before

    retried, paused, active, finalized, waited = rows.fleet.run_tasks(
        rows.place.host,
        [
            ("bbm_retry", {"all": True}),
            ("bbm_state", {"migrations": ids, "state": "paused", "confirm_seconds": 0}),
            ("bbm_state", {"migrations": ids, "state": "active"}),
            ("bbm_finalize", {"all": True, "poll_interval": 1}),
            ("bbm_wait", {"migrations": ids}),
        ],
    )
    steps = [states(result) for result in (retried, paused, active, finalized)]
    assert steps == [[state] * len(ids) for state in ("active", "paused", "active", "finished")]
    assert [rows.status(number) for number in numbers] == [3] * len(ids)
    assert waited["reached"]


def test_a_table_with_a_schema(rows: Rows) -> None:
    number = rows.add_failed(table_name=f"'{SCHEMA_TABLE}'")
    named = {**key(rows, []), "table_name": SCHEMA_TABLE}
    status = rows.run("bbm_status", table_name=SCHEMA_TABLE)
    assert [row["id"] for row in status["migrations"]] == [rows.id(number)]
    assert f"NoArgsJob on {SCHEMA_TABLE} ({rows.id(number)})" in " ".join(status["reasons"])
    assert rows.run("bbm_wait", check=True, table_name=SCHEMA_TABLE)["left"] == [rows.id(number)]
    retried, paused, finalized = rows.fleet.run_tasks(
        rows.place.host,
        [
            ("bbm_retry", named),
            ("bbm_state", {"migrations": [rows.id(number)], "state": "paused", "confirm_seconds": 0}),
            ("bbm_finalize", {"poll_interval": 1, **named}),
        ],
    )
    assert [states(retried), states(paused), states(finalized)] == [["active"], ["paused"], ["finished"]]
    assert rows.sql(f"SELECT count(*) FROM {SCHEMA_TABLE} WHERE id > 1000 AND id_convert_to_bigint = id") == "1000"


def test_a_class_that_the_upgrade_took_away(rows: Rows) -> None:
    number = rows.add_failed(job_class_name=f"'{GONE}'")
    name = rows.id(number)
    assert rows.run("bbm_status")["by_state"]["failed"] == [name]
    waited = rows.run("bbm_wait", delay=1, timeout=30)
    assert waited["failed"]
    assert f"{GONE} on " in waited["msg"]
    named = {"migration": name}
    for result in rows.fleet.run_tasks(rows.place.host, [("bbm_retry", named), ("bbm_finalize", named)]):
        assert result["failed"]
        assert GONE in result["msg"]
        assert "Roll back to a version that has the class" in result["msg"]
    # What a finalize leaves goes on to be one: a failed one is needed for the last resort.
    rows.sql(f"UPDATE batched_background_migrations SET status = 1 WHERE id = {number}")
    paused, active = rows.fleet.run_each(
        rows.place.host,
        "bbm_state",
        [{"migrations": [name], "state": "paused", "confirm_seconds": 0}, {"migrations": [name], "state": "active"}],
    )
    assert [states(paused), states(active)] == [["paused"], ["active"]]
    rows.sql(f"UPDATE batched_background_migrations SET status = 4 WHERE id = {number}")
    assert states(rows.run("bbm_state", migrations=[name], state="finished", **GATES)) == ["finished"]


def test_a_wait_says_that_the_class_may_be_gone_where_sidekiq_leaves_no_trace(rows: Rows) -> None:
    number = rows.add(job_class_name=f"'{GONE}'", updated_at="now() - interval '1 day'")
    waited = rows.run("bbm_wait", delay=1, stall_timeout=2, timeout=30)
    assert waited["failed"]
    assert f"({rows.id(number)}) has been stalled" in waited["msg"]
    assert f"whether this version of GitLab still has the class {GONE}" in waited["msg"]


@pytest.mark.parametrize(("rows", "status"), [(PLACES[0], 2), (PLACES[1], 7)], indirect=["rows"])
def test_a_state_that_nobody_knows(rows: Rows, status: int) -> None:
    odd = rows.add(status=status)
    good = rows.add_failed(job_arguments="'[1]'")
    name = rows.id(odd)
    seen = rows.run("bbm_status")
    assert seen["by_state"] == {f"unknown_{status}": [name], "failed": [rows.id(good)]}
    assert seen["safe_to_upgrade"] is False
    assert f"in a state that this collection does not know (unknown_{status})" in " ".join(seen["reasons"])
    before = rows.all()
    waits = [{"migrations": [name], "until": until, "delay": 1, "timeout": 60} for until in ("finished", "paused")]
    for waited in rows.fleet.run_each(rows.place.host, "bbm_wait", waits):
        assert waited["failed"]
        assert f"({name}) is in a state that this collection does not know (unknown_{status})" in waited["msg"]
        assert waited["elapsed_seconds"] < 5
    cases: list[tuple[str, dict[str, t.Any]]] = [
        ("bbm_retry", {"migration": name}),
        ("bbm_finalize", {"migration": name}),
        ("bbm_state", {"migrations": [rows.id(good), name], "state": "finished", **GATES}),
        ("bbm_state", {"migrations": [name], "state": "active"}),
    ]
    for refused in rows.fleet.run_tasks(rows.place.host, cases):
        assert refused["failed"], refused
        assert f"has the status {status}, which this collection does not know" in refused["msg"]
    assert rows.all() == before
    # The others can still be worked on, and the odd one stays as it is and is told.
    every: list[tuple[str, dict[str, t.Any]]] = [
        ("bbm_retry", {"all": True}),
        ("bbm_finalize", {"all": True, "poll_interval": 1}),
    ]
    retried, finalized = rows.fleet.run_tasks(rows.place.host, every)
    assert states(retried) == ["active"]
    assert finalized["failed"]
    assert f"has the status {status}" in finalized["msg"]
    assert (rows.status(odd), rows.status(good)) == (status, 3)
