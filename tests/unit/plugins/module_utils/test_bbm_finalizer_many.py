# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of bbm_finalize for several migrations, with a database and jobs that do as they are told."""

from __future__ import annotations

import json
import sys
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_many import JOB
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import ANSWER_MARK

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from finalize_bench import QUIET, Bench, FakeSession, Row, ends, finishes, row, task_of

TASK = "gitlab:background_migrations:finalize"
RUNNING_JOB = {"id": 7, "status": 1, "attempts": 1, "started_at": 1000.0, "age": 30.0}
BOOM = "/x.rb:3:in `perform': boom from the job (ArgumentError)\n\tfrom /gitlab/database/background_migration/batched_migration_wrapper.rb:1:in `x'\n"


def told(one: str, event: str, at: float = 1001.0, **more: t.Any) -> str:
    return f"\n{ANSWER_MARK}{json.dumps({'id': one, 'event': event, 'at': at, **more})}\n"


def course(one: str, begin: float = 1001.0, end: float = 1003.5, **more: t.Any) -> str:
    return told(one, "begin", begin) + told(one, "end", end, **more)


def finish_all(*rows: Row, database: str = "main") -> Callable[[], tuple[int | None, str]]:
    def effect() -> tuple[int | None, str]:
        for one in rows:
            one["status"] = 3
        return 0, "".join(course(f"{database}_{one['id']}") for one in rows)

    return effect


def lanes_of(argv: tuple[str, ...]) -> list[list[str]]:
    value = json.loads("".join(argv[5:]))
    return [[one["id"] for one in lane] for lane in value["lanes"]]


def test_several_are_finished_by_one_command(make: Callable[..., Bench]) -> None:
    rows = [row(1), row(2, table="taggings"), row(3)]
    bench = make(FakeSession("main", [*rows, row(4, status=3), row(5, status=6)]))
    bench.parallel = 2
    bench.jobs.effects = [finish_all(*rows)]
    results = bench.run()
    assert [(one["id"], one["way"], one["changed"], one["seconds"]) for one in results] == [
        ("main_1", "runner", True, 2.5),
        ("main_2", "runner", True, 2.5),
        ("main_3", "runner", True, 2.5),
    ]
    assert [one["after"]["state"] for one in results] == ["finished"] * 3
    (argv,) = bench.jobs.started
    assert lanes_of(argv) == [["main_1", "main_3"], ["main_2"]]
    assert bench.memory["commands"] == [list(argv)]
    assert bench.jobs.present == {}


def test_two_databases_are_one_piece_of_work_main_first(make: Callable[..., Bench]) -> None:
    one, other = row(5), row(5)
    bench = make(FakeSession("main", [one]), FakeSession("ci", [other]))
    bench.parallel = 8

    def both() -> tuple[int | None, str]:
        return 0, finish_all(one)()[1] + finish_all(other, database="ci")()[1]

    bench.jobs.effects = [both]
    assert [result["error"] for result in bench.run()] == [None, None]
    assert lanes_of(bench.jobs.started[0]) == [["main_5"], ["ci_5"]]


def test_each_failure_has_its_own_error_and_the_others_are_finished(make: Callable[..., Bench]) -> None:
    raised, refused, fine = row(1), row(2), row(3)
    bench = make(FakeSession("main", [raised, refused, fine]))

    def effect() -> tuple[int | None, str]:
        raised["status"], refused["status"], fine["status"] = 5, 1, 3
        return 0, (
            course("main_1", error=BOOM) + course("main_2", refused="There is no row with this id.") + course("main_3")
        )

    bench.jobs.effects = [effect]
    first, second, third = bench.run()
    assert "main_1) is finalizing, not finished." in first["error"]
    assert "ArgumentError: boom from the job" in first["error"]
    assert first["diagnosis"]["cause"] == "job_failed"
    assert first["log_tail"] == BOOM
    assert "refused: There is no row" in second["error"]
    assert (third["error"], third["log_tail"]) == (None, "")
    assert len(bench.jobs.started) == 1


def test_a_killed_process_fails_what_was_begun_and_the_rest_is_done_by_the_next(make: Callable[..., Bench]) -> None:
    done, begun, waiting, last = row(1), row(2), row(3), row(4)
    bench = make(FakeSession("main", [done, begun, waiting, last]))

    def killed() -> tuple[int | None, str]:
        done["status"], begun["status"] = 3, 5
        return None, course("main_1") + told("main_2", "begin")

    bench.jobs.effects = [killed, finish_all(waiting, last)]
    results = bench.run()
    assert [bool(one["error"]) for one in results] == [False, True, False, False]
    assert "disappeared without an exit status" in results[1]["error"]
    assert [lanes_of(argv) for argv in bench.jobs.started] == [
        [["main_1", "main_2", "main_3", "main_4"]],
        [["main_3", "main_4"]],
    ]


def test_where_the_runner_does_not_begin_each_one_goes_its_own_way(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = make(FakeSession("main", [one, other]))
    bench.jobs.effects = [ends(1, "bundler: failed to load command: rails\n"), finishes(one), finishes(other)]
    results = bench.run()
    assert [(result["way"], result["error"]) for result in results] == [("rake", None), ("rake", None)]
    assert [task_of(argv) for argv in bench.jobs.started[1:]] == [TASK, TASK]
    assert all("did not begin: The command failed with exit code 1" in result["notes"][0] for result in results)


def test_where_it_did_nothing_the_documented_way_is_tried(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = make(FakeSession("main", [one, other]))

    def half() -> tuple[int | None, str]:
        other["status"] = 3
        return 0, course("main_1") + course("main_2")

    bench.jobs.effects = [half, finishes(one)]
    first, second = bench.run()
    assert (first["way"], second["way"]) == ("rake", "runner")
    assert "gitlab-rails runner did nothing: the row is active." in first["notes"]


def test_the_order_inside_a_table_is_kept_when_one_falls_back(make: Callable[..., Bench]) -> None:
    one, other, later = row(1), row(2, table="taggings"), row(3)
    bench = make(FakeSession("main", [one, other, later]))

    def nothing_and_killed() -> tuple[int | None, str]:
        return None, course("main_1")

    bench.jobs.effects = [nothing_and_killed, finishes(one), finish_all(other, later)]
    assert [result["error"] for result in bench.run()] == [None, None, None]
    assert task_of(bench.jobs.started[1]) == TASK
    assert lanes_of(bench.jobs.started[2]) == [["main_2", "main_3"]]


@pytest.mark.parametrize("rc", [1, None])
def test_a_failure_that_nobody_watched_is_tried_again(make: Callable[..., Bench], rc: int | None) -> None:
    one, other = row(1), row(2)
    bench = make(FakeSession("main", [one, other]))
    bench.step()
    bench.jobs.effects = [ends(rc, told("main_1", "begin"), one), finish_all(one, other)]
    bench.jobs.end(JOB)
    bench.memory = {}
    results = bench.run()
    assert [result["error"] for result in results] == [None, None]
    assert "while nobody was watching" in results[0]["notes"][0]
    assert [result["before"]["state"] for result in results] == ["active", "active"]
    assert len(bench.jobs.started) == 2


def test_a_running_job_of_a_lost_controller_is_taken_up(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = make(FakeSession("main", [one, other]))
    bench.step()
    one["status"] = 5
    bench.memory = {}
    bench.jobs.effects = [finish_all(one, other)]
    results = bench.run()
    assert [(result["before"]["state"], result["after"]["state"]) for result in results] == [("active", "finished")] * 2
    assert len(bench.jobs.started) == 1


def started_by_another_run(make: Callable[..., Bench], *rows: Row) -> Bench:
    bench = make(FakeSession("main", list(rows)))
    bench.step()
    bench.memory = {}
    return bench


def test_new_ones_are_begun_when_the_running_job_is_over(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = started_by_another_run(make, one, other)
    later = [row(8), row(9)]
    bench.instance.databases[0].rows += later
    bench.jobs.effects = [finish_all(one, other), finish_all(*later)]
    assert [result["error"] for result in bench.run()] == [None] * 4
    assert [lanes_of(argv) for argv in bench.jobs.started] == [[["main_1", "main_2"]], [["main_8", "main_9"]]]


def test_one_that_the_running_job_has_done_is_not_waited_for_any_longer(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = started_by_another_run(make, one, other)
    bench.selection = Selection(id="main_1")
    waiting = bench.step()
    assert (waiting.id, waiting.job.name) == ("main_1", JOB)
    one["status"] = 3
    bench.jobs.print(JOB, course("main_1") + told("main_2", "begin"))
    assert bench.step() is None
    assert [result["error"] for result in bench.results] == [None]
    # It goes on with the others.
    assert JOB in bench.jobs.present


def test_one_that_failed_in_the_running_job_is_told_at_once(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = started_by_another_run(make, one, other)
    bench.selection = Selection(id="main_1")
    bench.step()
    one["status"] = 5
    bench.jobs.print(JOB, course("main_1", error=BOOM) + told("main_2", "begin"))
    assert bench.step() is None
    assert "boom from the job" in bench.results[0]["error"]


def test_one_of_another_table_need_not_wait_for_the_running_job(make: Callable[..., Bench]) -> None:
    bench = started_by_another_run(make, row(1), row(2))
    other = row(8, table="taggings")
    bench.instance.databases[0].rows.append(other)
    bench.selection = Selection(id="main_8")
    waiting = bench.step()
    assert waiting.job.name == "finalize-main_8"


def test_one_of_the_same_table_waits_until_the_running_job_has_left_it(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2, table="taggings")
    bench = started_by_another_run(make, one, other)
    bench.instance.databases[0].rows.append(row(8, table="public.events"))
    bench.selection = Selection(id="main_8")
    waiting = bench.step()
    assert (waiting.id, waiting.job.name, waiting.text) == (
        "main_8",
        JOB,
        "waits for another migration of the same table",
    )
    one["status"] = 3
    bench.jobs.print(JOB, course("main_1"))
    waiting = bench.step()
    assert waiting.job.name == "finalize-main_8"


def test_a_single_one_that_runs_already_is_waited_for_first(make: Callable[..., Bench]) -> None:
    one, other, third = row(1), row(2), row(3)
    bench = make(FakeSession("main", [one, other, third]))
    bench.selection = Selection(id="main_2")
    bench.step()
    bench.memory, bench.selection = {}, Selection()
    bench.jobs.effects = [finishes(other), finish_all(one, third)]
    results = bench.run()
    assert [(result["way"], result["error"]) for result in results] == [
        ("runner", None),
        ("rake", None),
        ("runner", None),
    ]
    assert lanes_of(bench.jobs.started[1]) == [["main_1", "main_3"]]


def test_abandoned_jobs_are_freed_and_exhausted_ones_reset_before_the_start(make: Callable[..., Bench]) -> None:
    one, other = row(1, status=5), row(2, status=4)
    exhausted = {**RUNNING_JOB, "id": 9, "status": 2, "attempts": 3, "of": 2}
    session = FakeSession("main", [one, other], open_jobs=[{**RUNNING_JOB, "of": 1}, exhausted])
    bench = make(session, version="14.2.7")
    bench.jobs.effects = [finish_all(one, other)]
    first, second = bench.run()
    assert session.writes == ["free 7", "reset 2"]
    assert (first["freed_jobs"], first["reset_jobs"]) == ([7], 0)
    assert (second["freed_jobs"], second["reset_jobs"]) == ([], 1)


def test_what_somebody_works_on_comes_later_with_all_of_its_table(make: Callable[..., Bench]) -> None:
    busy, same_table, one, other = (
        row(1),
        row(2, table="public.events"),
        row(3, table="taggings"),
        row(4, table="notes"),
    )
    session = FakeSession("main", [busy, same_table, one, other], open_jobs=[{**RUNNING_JOB, "of": 1}])
    session.samples = [dict(QUIET, working=1)]
    bench = make(session)
    bench.jobs.effects = [finish_all(one, other), finish_all(busy, same_table)]
    waiting = bench.step()
    assert lanes_of(bench.jobs.started[0]) == [["main_3", "main_4"]]
    session.open_jobs = []
    bench.jobs.end(waiting.job.name)
    assert [result["error"] for result in bench.run()] == [None] * 4
    assert lanes_of(bench.jobs.started[1]) == [["main_1", "main_2"]]


def test_what_must_not_be_touched_is_an_error_of_its_own(make: Callable[..., Bench]) -> None:
    unknown, one, other = row(1, status=9), row(2), row(3)
    bench = make(FakeSession("main", [unknown, one, other]))
    bench.jobs.effects = [finish_all(one, other)]
    results = bench.run()
    assert "has the status 9" in results[0]["error"]
    assert [result["error"] for result in results[1:]] == [None, None]


def spinning(make: Callable[..., Bench]) -> Bench:
    bench = make(FakeSession("main", [row(1), row(2, table="taggings")]))
    assert bench.step().job.name == JOB
    session = bench.instance.databases[0]
    session.open_jobs = [{**RUNNING_JOB, "age": 300.0, "of": 1}]
    session.samples = [dict(QUIET, waiting=1)] * 3
    for track in bench.memory["tracks"].values():
        track["checked_at"] -= 61
    return bench


def test_one_that_goes_round_in_circles_is_helped(make: Callable[..., Bench]) -> None:
    bench = spinning(make)
    bench.jobs.print(JOB, told("main_1", "begin") + told("main_2", "begin"))
    assert bench.step().job.name == JOB
    session = bench.instance.databases[0]
    assert session.writes == ["age 7"]
    # Only its own session can prove it.
    assert set(session.asked_for) == {"gitlab_fleet_upgrade main_1"}


def test_one_that_was_not_begun_goes_round_in_no_circles(make: Callable[..., Bench]) -> None:
    bench = spinning(make)
    bench.jobs.print(JOB, told("main_2", "begin"))
    bench.step()
    assert bench.instance.databases[0].writes == []


def test_check_mode_shows_the_one_command_and_does_nothing(make: Callable[..., Bench]) -> None:
    session = FakeSession("main", [row(1, status=5), row(2)], open_jobs=[{**RUNNING_JOB, "of": 1}])
    bench = make(session)
    bench.parallel = 2
    assert bench.step(check_mode=True) is None
    assert [(one["changed"], one["after"]["state"], one["way"]) for one in bench.results] == [
        (True, "finished", "runner"),
        (True, "finished", "runner"),
    ]
    assert bench.results[0]["freed_jobs"] == [7]
    (argv,) = bench.memory["commands"]
    assert lanes_of(tuple(argv)) == [["main_1", "main_2"]]
    assert (session.writes, bench.jobs.started) == ([], [])


def test_more_than_fit_into_one_command_get_a_second_one(make: Callable[..., Bench]) -> None:
    rows = [row(number, table=f"table_{number}") for number in range(1, 504)]
    bench = make(FakeSession("main", rows))
    bench.jobs.effects = [finish_all(*rows[:500]), finish_all(*rows[500:])]
    assert {result["error"] for result in bench.run()} == {None}
    assert [sum(len(lane) for lane in lanes_of(argv)) for argv in bench.jobs.started] == [500, 3]
