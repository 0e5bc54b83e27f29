# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module about batched background migrations, and its Ruby, on the oldest and the newest GitLab that is claimed."""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest
from bbm_places import ENDS, FIRST, LAST, Place, Rows
from instances import Instances

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _ruby_bbm

GATES: dict[str, t.Any] = {"reason": "told so by support", "accept_data_loss": True, "without_backup": True}
SCHEDULE = "execute_batched_migrations_on_schedule"
OPTIMIZE = "optimize_batched_migrations"
PARALLEL = "batched_migrations_parallel_execution"
WAIT = {"delay": 1, "timeout": 20}

FIRST_MAIN, LAST_MAIN, LAST_CI = Place(FIRST), Place(LAST), Place(LAST, "ci")


@pytest.fixture(scope="module")
def started() -> t.Iterator[Instances]:
    with Instances.fleet("ends") as fleet:
        fleet.up(ENDS)
        for host in ENDS:
            # The rows are the tests'; no worker may take them.
            fleet.sh(host, "gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[2000]'")
        yield fleet


@pytest.fixture
def ends(started: Instances) -> Instances:
    for place in (FIRST_MAIN, LAST_MAIN, LAST_CI):
        Rows(started, place).clear()
    return started


def snippet(ruby: str, value: t.Mapping[str, t.Any]) -> str:
    """The command line that runs Ruby inside GitLab, past what the modules refuse."""
    return shlex.join(["gitlab-rails", "runner", "-e", "production", ruby, json.dumps(value)])


def wanted(rows: Rows, number: int) -> dict[str, t.Any]:
    names = "job_class_name, table_name, column_name, job_arguments"
    text = rows.sql(
        f"SELECT to_jsonb(m) FROM (SELECT {names} FROM batched_background_migrations WHERE id = {number}) AS m"
    )
    return {**json.loads(text), "id": rows.id(number), "database": rows.place.database, "row_id": number}


@pytest.mark.parametrize("place", [FIRST_MAIN, LAST_MAIN, LAST_CI], ids=lambda place: f"{place.host}-{place.database}")
def test_paused_active_and_marked_finished(ends: Instances, place: Place) -> None:
    rows = Rows(ends, place)
    number, failed = rows.add(), rows.add_failed(column_name="'project_id'")
    options = {"migrations": [rows.id(number)]}
    paused, active, finished = ends.run_each(
        place.host,
        "bbm_state",
        [
            {**options, "state": "paused", "confirm_seconds": 0},
            {**options, "state": "active"},
            {"migrations": [rows.id(failed)], "state": "finished", **GATES},
        ],
    )
    for result, state in ((paused, "paused"), (active, "active"), (finished, "finished")):
        assert not result["failed"], result
        assert result["changed"]
        assert [one["after"]["state"] for one in result["migrations"]] == [state]
    assert (rows.status(number), rows.status(failed)) == (1, 3)
    assert [job[0] for job in rows.jobs(failed)] == [3, 3]


@pytest.mark.parametrize("host", ENDS)
def test_status_wait_and_schema_migrations_are_read(ends: Instances, host: str) -> None:
    rows = Rows(ends, Place(host))
    number = rows.add_failed()
    status, wait = ends.run_tasks(host, [("bbm_status", {}), ("bbm_wait", WAIT)])
    assert not status["failed"], status
    assert status["by_state"] == {"failed": [rows.id(number)]}
    assert status["migrations"][0]["jobs"]["exhausted"] == 1
    assert status["scheduler"][SCHEDULE] == {"enabled": True, "set": False}
    assert status["safe_to_upgrade"] is False
    assert wait["failed"]
    assert f"({rows.id(number)}) failed" in wait["msg"]
    rows.sql(f"UPDATE batched_background_migrations SET status = 3 WHERE id = {number}")
    reading = [("db_migrate_status", {"source": source}) for source in ("sql", "rake")]
    again, by_sql, by_rake = ends.run_tasks(host, [("bbm_wait", WAIT), *reading])
    assert again["reached"]
    for result in (by_sql, by_rake):
        assert not result["failed"], result
        assert [database["name"] for database in result["databases"]] == (["main", "ci"] if host == LAST else ["main"])
        assert all(database["up"] and not database["down"] for database in result["databases"])


def test_settings_are_set_and_put_back_where_they_exist(ends: Instances) -> None:
    wanted: dict[str, dict[str, t.Any]] = {
        FIRST: {SCHEDULE: False, OPTIMIZE: False},
        LAST: {SCHEDULE: False, "max_running": 4},
    }
    former: dict[str, dict[str, t.Any]] = {
        FIRST: {SCHEDULE: None, OPTIMIZE: None},
        LAST: {SCHEDULE: None, "max_running": 2},
    }
    refused: dict[str, dict[str, tuple[t.Any, str]]] = {
        FIRST: {"max_running": (4, "It exists from 15.7 on"), PARALLEL: (True, "It exists from 15.7")},
        LAST: {
            OPTIMIZE: (False, "It existed from 13.12 to before 18.4"),
            PARALLEL: (True, "It existed from 15.7 to before 16.1"),
        },
    }
    for host, options in wanted.items():
        cases = [{name: value} for name, (value, _said) in refused[host].items()]
        done, *answers = ends.run_each(host, "bbm_settings", [options, *cases])
        assert not done["failed"], done
        assert (done["settings"], done["former"]) == (options, former[host])
        for answer, (_value, said) in zip(answers, refused[host].values(), strict=True):
            assert answer["failed"]
            assert said in answer["msg"]
        effective = ends.sh(host, f"gitlab-rails runner 'puts Feature.enabled?(:{SCHEDULE}, type: :ops)'")
        assert effective.split()[-1] == "false"
        back = ends.run(host, "bbm_settings", restore=former[host])
        assert (back["failed"], back["changed"], back["settings"]) == (False, True, former[host])


def test_what_13_12_cannot_do_is_refused_and_changes_nothing(ends: Instances) -> None:
    rows = Rows(ends, FIRST_MAIN)
    number = rows.add_failed()
    before = rows.all()
    named = {"migration": rows.id(number)}
    retry, finalize = ends.run_tasks(FIRST, [("bbm_retry", named), ("bbm_finalize", named)])
    assert retry["failed"] and finalize["failed"]
    assert "GitLab 13.12.15-ee has no Retry" in retry["msg"]
    assert "GitLab 13.12.15-ee cannot finalize" in finalize["msg"]
    assert "14.0.12" in finalize["msg"]
    one = wanted(rows, number)
    for ruby, value in (
        (_ruby_bbm.RETRY, {"rows": [one], "from": [4]}),
        (_ruby_bbm.FINALIZE, one),
    ):
        assert "This version of GitLab cannot" in ends.fails(FIRST, snippet(ruby, value))
    many = {"lanes": [[{**one, "session": "one"}]], "parallel": 1}
    assert "This version of GitLab cannot" in ends.sh(FIRST, snippet(_ruby_bbm.FINALIZE_MANY, many))
    assert rows.all() == before


def test_19_retries_and_finalizes_in_both_databases(ends: Instances) -> None:
    main, ci = Rows(ends, LAST_MAIN), Rows(ends, LAST_CI)
    failed = [(rows, rows.add_failed(job_arguments=f"'[{n}]'")) for n, rows in enumerate((main, ci, ci))]
    retry = main.run("bbm_retry", all=True)
    assert not retry["failed"], retry
    for rows, number in failed:
        assert rows.status(number) == 1
        assert [job[:2] for job in rows.jobs(number)] == [[3, 1], [2, 0], [2, 0]]
    one = {"migration": failed[2][0].id(failed[2][1])}
    single, both = ends.run_each(
        LAST, "bbm_finalize", [{"poll_interval": 1, **chosen} for chosen in (one, {"all": True})]
    )
    for result, count in ((single, 1), (both, 2)):
        assert not result["failed"], result
        assert [(found["way"], found["after"]["state"]) for found in result["migrations"]] == [
            ("runner", "finished")
        ] * count
    for rows, number in failed:
        assert rows.status(number) == 3
        assert {job[0] for job in rows.jobs(number)} == {3}


def test_what_18_5_left_unproven_is_repaired_by_the_migrations_of_18_10(ends: Instances) -> None:
    """The stamps are those that GitLab's own repair looks for; here it runs as the next upgrade would run it."""
    rows = Rows(ends, LAST_MAIN)
    number = rows.add(status=3, queued_migration_version="'20251010101010'", min_value=1, max_value=1)
    rows.sql("DELETE FROM schema_migrations WHERE version IN ('20260302103000', '20260302103100')")
    before = rows.run("bbm_status")
    assert before["unproven"] == [rows.id(number)]
    assert before["safe_to_upgrade"] is False
    (reason,) = [one for one in before["reasons"] if "without a job" in one]
    assert reason.endswith("The schema migrations of this version run them: run db_migrate")
    migrated, after = ends.run_tasks(LAST, [("db_migrate", {}), ("bbm_status", {})])
    assert not migrated["failed"], migrated
    assert (after["unproven"], after["safe_to_upgrade"]) == ([], True)
    assert rows.status(number) == 3
    assert [job[0] for job in rows.jobs(number)] == [3]
