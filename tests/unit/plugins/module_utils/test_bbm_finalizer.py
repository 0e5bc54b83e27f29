# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of bbm_finalize for one migration, with a database and jobs that do as they are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from finalize_bench import QUIET, Bench, FakeSession, ends, finishes, row, task_of

RECORDINGS = Path(__file__).parents[3] / "data" / "recordings"

RAISED = "rake aborted!\nArgumentError: boom\nTasks: TOP => gitlab:background_migrations:finalize\n"


TASK = "gitlab:background_migrations:finalize"


def test_one_alone_is_finished_by_the_documented_task(make: Callable[..., Bench]) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one, row(3, status=3), row(4, status=6)]))
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert (result["id"], result["way"], result["changed"]) == ("main_1", "rake", True)
    assert [task_of(argv) for argv in bench.jobs.started] == [TASK]
    assert result["before"]["state"] == "active"
    assert result["after"]["state"] == "finished"
    assert result["seconds"] == 10.0
    assert result["log_tail"] == "Done.\n"


def test_a_task_that_does_nothing_is_found_out(make: Callable[..., Bench]) -> None:
    one = row(5)
    bench = make(FakeSession("main", []), FakeSession("ci", [one]))
    bench.jobs.effects = [ends(0, "Done.\n"), finishes(one)]
    (result,) = bench.run()
    assert result["way"] == "runner"
    assert task_of(bench.jobs.started[0]) == f"{TASK}:ci"
    assert bench.jobs.started[1][0] == "/opt/gitlab/bin/gitlab-rails"
    assert "exited 0 and did nothing" in result["notes"][0]


def test_when_no_way_does_anything_that_is_a_failure(make: Callable[..., Bench]) -> None:
    bench = make(FakeSession("main", [row(1)]))
    bench.jobs.effects = [ends(0, "Done.\n"), ends(0, "Done.\n"), ends(0, "")]
    (result,) = bench.run()
    assert "none of GitLab's commands did anything" in result["error"]
    assert not result["changed"]


@pytest.mark.parametrize(
    "output",
    [
        "Please specify the database\n",
        "rake aborted!\nDon't know how to build task 'gitlab:background_migrations:finalize' (See the list)\n",
    ],
)
def test_the_other_form_of_the_task_is_tried(make: Callable[..., Bench], output: str) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]))
    bench.jobs.effects = [ends(1, output), finishes(one)]
    (result,) = bench.run()
    assert result["error"] is None
    assert [task_of(argv) for argv in bench.jobs.started] == [TASK, f"{TASK}:main"]


def test_arguments_that_the_task_cannot_read_go_through_the_runner(make: Callable[..., Bench]) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]), version="14.8.6")
    stderr = json.loads((RECORDINGS / "finalize_malformed_json.json").read_text())["stderr"]
    bench.jobs.effects = [ends(1, stderr), finishes(one)]
    (result,) = bench.run()
    assert result["way"] == "runner"


def test_a_job_that_raises_is_a_failure_with_its_own_error(make: Callable[..., Bench]) -> None:
    one = row(1)
    session = FakeSession("main", [one])
    session.last_error = {"job_id": 7, "exception_class": "ArgumentError", "exception_message": "boom", "at": None}
    bench = make(session)
    bench.jobs.effects = [ends(1, RAISED, one)]
    (failed,) = bench.run()
    assert "BackfillX on events (main_1) is finalizing, not finished." in failed["error"]
    assert "ArgumentError: boom" in failed["error"]
    assert failed["diagnosis"]["last_error"]["job_id"] == 7
    assert failed["changed"]


def test_a_process_that_disappears_while_it_is_watched_is_a_failure(make: Callable[..., Bench]) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]))
    bench.jobs.effects = [ends(None, "", one)]
    (result,) = bench.run()
    assert "disappeared without an exit status" in result["error"]


@pytest.mark.parametrize("rc", [1, None])
def test_a_failure_that_nobody_watched_is_tried_again(make: Callable[..., Bench], rc: int | None) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]))
    bench.step()
    bench.jobs.effects = [ends(rc, RAISED, one), finishes(one)]
    bench.jobs.end("finalize-main_1")
    # The controller was killed: what it remembered is lost.
    bench.memory = {}
    (result,) = bench.run()
    assert result["error"] is None
    assert "while nobody was watching" in result["notes"][0]
    assert result["before"]["state"] == "active"
    assert len(bench.jobs.started) == 2


def test_a_running_job_of_a_lost_controller_is_taken_up(make: Callable[..., Bench]) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]))
    bench.step()
    one["status"] = 5
    bench.memory = {}
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert len(bench.jobs.started) == 1
    assert result["before"]["state"] == "active"
    assert result["way"] == "rake"


def test_a_result_that_another_run_took_is_read_from_the_row(make: Callable[..., Bench]) -> None:
    one = row(1)
    bench = make(FakeSession("main", [one]))
    bench.step()
    one["status"] = 3
    bench.jobs.present.clear()
    (result,) = bench.run()
    assert (result["error"], result["changed"], len(bench.jobs.started)) == (None, True, 1)


RUNNING_JOB = {"id": 7, "status": 1, "attempts": 1, "started_at": 1000.0, "age": 30.0}


def test_an_abandoned_job_is_freed_before_the_start(make: Callable[..., Bench]) -> None:
    one = row(1, status=5)
    session = FakeSession("main", [one], open_jobs=[RUNNING_JOB])
    bench = make(session)
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert result["freed_jobs"] == [7]
    assert session.writes == ["free 7"]


def test_with_another_host_connected_the_sessions_are_watched(make: Callable[..., Bench]) -> None:
    one = row(1, status=5)
    remote = dict(QUIET, remote=1)
    session = FakeSession("main", [one], open_jobs=[RUNNING_JOB], samples=[remote, remote, remote, remote])
    bench = make(session)
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert result["freed_jobs"] == [7]
    assert session.samples == []


def test_without_grace_only_certainty_frees(make: Callable[..., Bench]) -> None:
    session = FakeSession("main", [row(1, status=5)], open_jobs=[RUNNING_JOB], samples=[dict(QUIET, remote=1)])
    bench = make(session)
    bench.grace = 0
    waiting = bench.step()
    assert waiting.job is None
    assert session.writes == []


def test_a_job_that_somebody_works_on_is_waited_for_once(make: Callable[..., Bench]) -> None:
    one = row(1, status=1)
    working = dict(QUIET, working=1)
    session = FakeSession("main", [one], open_jobs=[RUNNING_JOB], samples=[working, QUIET, working])
    bench = make(session)
    for _turn in range(2):
        waiting = bench.step()
        assert waiting.job is None
        assert "job 7" in waiting.text
        session.samples = [working]
    # Sidekiq has begun its next batch; finalize will end that.
    session.open_jobs = [dict(RUNNING_JOB, id=8)]
    assert bench.step().job is not None
    assert session.writes == []


def test_a_worker_that_cannot_be_seen_is_not_taken_for_dead(make: Callable[..., Bench]) -> None:
    session = FakeSession("main", [row(1)], open_jobs=[RUNNING_JOB], samples=[dict(QUIET, hidden=1)] * 2)
    bench = make(session)
    waiting = bench.step()
    assert waiting.job is None
    assert "cannot be seen" in waiting.text
    assert session.writes == []


def test_a_job_that_is_an_hour_old_is_gitlabs_own_to_take(make: Callable[..., Bench]) -> None:
    one = row(1, status=5)
    session = FakeSession("main", [one], open_jobs=[dict(RUNNING_JOB, age=4000.0)])
    bench = make(session)
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert result["freed_jobs"] == []


@pytest.mark.parametrize(("version", "writes"), [("15.11.13", ["reset 1"]), ("16.3.9", [])])
def test_exhausted_jobs_get_new_attempts_where_gitlab_gives_none(
    make: Callable[..., Bench], version: str, writes: list[str]
) -> None:
    one = row(1, status=4)
    session = FakeSession("main", [one], open_jobs=[{**RUNNING_JOB, "status": 2, "attempts": 3}])
    bench = make(session, version=version)
    bench.jobs.effects = [finishes(one)]
    (result,) = bench.run()
    assert session.writes == writes
    assert result["reset_jobs"] == len(writes)


def spinning(age: float) -> FakeSession:
    return FakeSession("main", [row(1)], samples=[dict(QUIET, waiting=1)] * 3, open_jobs=[dict(RUNNING_JOB, age=age)])


@pytest.mark.parametrize(("age", "writes"), [(300.0, ["age 7"]), (60.0, [])])
def test_a_finalize_that_goes_round_in_circles_is_helped(
    make: Callable[..., Bench], age: float, writes: list[str]
) -> None:
    session = spinning(age)
    opened, session.open_jobs = session.open_jobs, []
    bench = make(session)
    assert bench.step().job is not None
    session.open_jobs = opened
    bench.memory["tracks"]["main_1"]["checked_at"] -= 61
    assert bench.step().job is not None
    assert session.writes == writes


def test_a_running_finalize_is_looked_at_once_a_minute(make: Callable[..., Bench]) -> None:
    session = spinning(300.0)
    opened, session.open_jobs = session.open_jobs, []
    bench = make(session)
    bench.step()
    session.open_jobs = opened
    bench.step()
    assert session.writes == []


def test_check_mode_reads_everything_and_does_nothing(make: Callable[..., Bench]) -> None:
    session = FakeSession(
        "main",
        [row(1, status=5)],
        open_jobs=[RUNNING_JOB, {**RUNNING_JOB, "id": 9, "status": 2, "attempts": 3}],
    )
    bench = make(session, version="14.2.7")
    assert bench.step(check_mode=True) is None
    (result,) = bench.results
    assert (result["changed"], result["freed_jobs"], result["after"]["state"]) == (True, [7], "finished")
    assert [task_of(tuple(argv)) for argv in bench.memory["commands"]] == [TASK]
    assert (session.writes, bench.jobs.started) == ([], [])


def test_14_0_is_refused_and_nothing_is_started(make: Callable[..., Bench]) -> None:
    bench = make(FakeSession("main", [row(1)]), version="14.0.12")
    (result,) = bench.run()
    assert "GitLab 14.0.12" in result["error"]
    assert bench.jobs.started == []


def test_what_the_code_inside_gitlab_refuses_is_told(make: Callable[..., Bench]) -> None:
    one = row(1)
    one["job_arguments"] = None
    bench = make(FakeSession("main", [one]))
    bench.jobs.effects = [ends(3, '\n@@gitlab_fleet_upgrade {"refused":"Its status is 6."}\n')]
    (result,) = bench.run()
    assert "refused: Its status is 6." in result["error"]
