# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of bbm_finalize, with a database and jobs that do as they are told."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import MIGRATIONS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalizer import LAST_ERROR, Finalizer
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection, build_topology
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

RECORDINGS = Path(__file__).parents[3] / "data" / "recordings"

Row = dict[str, t.Any]
QUIET = {"hidden": 0, "working": 0, "waiting": 0, "remote": 0}
RAISED = "rake aborted!\nArgumentError: boom\nTasks: TOP => gitlab:background_migrations:finalize\n"


@dataclass
class FakeSession:
    name: str
    rows: list[Row]
    open_jobs: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    last_error: Row | None = None
    writes: list[str] = field(default_factory=list)
    dbname: str = "gitlab"

    def fetch(self, sql: str, **parameters: t.Any) -> list[Row]:
        if sql == _orphans.OPEN_JOBS:
            return list(self.open_jobs)
        if sql == _orphans.SESSIONS:
            return [self.samples.pop(0) if self.samples else QUIET]
        if sql == _orphans.FREE:
            self.writes.append(f"free {parameters['ids']}")
            self.open_jobs = [job for job in self.open_jobs if str(job["id"]) not in parameters["ids"].split(",")]
            return [{"id": int(one)} for one in parameters["ids"].split(",")]
        if sql == _orphans.RESET:
            self.writes.append("reset")
            return []
        return [row for row in self.rows if row["id"] == parameters["row_id"]]

    def read(self, parts: t.Any, **parameters: t.Any) -> dict[str, t.Any]:
        return {MIGRATIONS.name: list(self.rows), LAST_ERROR.name: self.last_error}


class FakeJobs:
    """Jobs that end when they are told; ``effects`` says what each start will do to the rows, and how it ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.present: dict[str, Job] = {}
        self.started: list[tuple[str, ...]] = []
        self.effects: list[Callable[[], tuple[int | None, str]]] = []

    def find(self, name: str) -> Job | None:
        return self.present.get(name)

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        json.dumps(note)
        directory = self.directory / f"{name}.{len(self.started)}"
        directory.mkdir()
        self.started.append(tuple(argv))
        self.present[name] = Job(name, tuple(argv), str(directory), RUNNING, 1000.0, note=note)
        return self.present[name]

    def end(self, name: str) -> None:
        rc, output = self.effects.pop(0)()
        job = self.present[name]
        Path(job.log).write_text(output)
        self.present[name] = replace(job, status=LOST if rc is None else ENDED, rc=rc, ended_at=1010.0)

    def collect(self, name: str) -> Job:
        return self.present.pop(name)


@dataclass
class FakeInstance:
    databases: list[FakeSession]
    version: GitLabVersion
    installation: Installation = field(default_factory=lambda: Installation.create("omnibus"))

    @property
    def topology(self) -> t.Any:
        return build_topology([Connection(one.name, f"gitlab_{one.name}") for one in self.databases])

    def session(self, name: str) -> FakeSession:
        return next(one for one in self.databases if one.name == name)

    def sessions(self) -> list[FakeSession]:
        return self.databases


def row(number: int, status: int = 1, table: str = "events") -> Row:
    return {
        "id": number,
        "status": status,
        "job_class_name": "BackfillX",
        "table_name": table,
        "column_name": "id",
        "job_arguments": [number],
    }


@dataclass
class Bench:
    """One instance and its finalizer, whose memory goes through JSON between two steps as it does in real runs."""

    instance: FakeInstance
    jobs: FakeJobs
    memory: dict[str, t.Any] = field(default_factory=dict)
    grace: int = 3

    def step(self, check_mode: bool = False) -> t.Any:
        self.memory = json.loads(json.dumps(self.memory))
        finalizer = Finalizer(
            t.cast("t.Any", self.instance),
            t.cast("t.Any", self.jobs),
            self.memory,
            self.grace,
            check_mode,
            sleep=lambda _seconds: None,
        )
        if not self.memory:
            finalizer.select(Selection())
        waiting = finalizer.advance()
        self.results = finalizer.results()
        return waiting

    def run(self) -> list[dict[str, t.Any]]:
        while True:
            waiting = self.step()
            if waiting is None:
                return self.results
            assert waiting.job is not None
            self.jobs.end(waiting.job.name)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    monkeypatch.setattr(_orphans, "ruby_processes", list)

    def build(*databases: FakeSession, version: str = "17.8.7") -> Bench:
        return Bench(FakeInstance(list(databases), GitLabVersion.parse(version)), FakeJobs(tmp_path))

    return build


def finishes(one: Row) -> Callable[[], tuple[int | None, str]]:
    def effect() -> tuple[int | None, str]:
        one["status"] = 3
        return 0, "Done.\n"

    return effect


def ends(rc: int | None, output: str, one: Row | None = None, status: int = 5) -> Callable[[], tuple[int | None, str]]:
    def effect() -> tuple[int | None, str]:
        if one is not None:
            one["status"] = status
        return rc, output

    return effect


def task_of(argv: tuple[str, ...]) -> str:
    return argv[1].split("[")[0]


TASK = "gitlab:background_migrations:finalize"


def test_one_after_the_other_in_the_order_of_their_ids(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    bench = make(FakeSession("main", [one, other, row(3, status=3), row(4, status=6)]))
    bench.jobs.effects = [finishes(one), finishes(other)]
    results = bench.run()
    assert [(result["id"], result["way"], result["changed"]) for result in results] == [
        ("main_1", "rake", True),
        ("main_2", "rake", True),
    ]
    assert [task_of(argv) for argv in bench.jobs.started] == [TASK, TASK]
    assert results[0]["before"]["state"] == "active"
    assert results[0]["after"]["state"] == "finished"
    assert results[0]["seconds"] == 10.0


def test_a_task_that_does_nothing_is_found_out_and_remembered_for_its_database(make: Callable[..., Bench]) -> None:
    in_main, one, other = row(1), row(5), row(6)
    bench = make(FakeSession("main", [in_main]), FakeSession("ci", [one, other]))
    bench.jobs.effects = [finishes(in_main), ends(0, "Done.\n"), finishes(one), finishes(other)]
    results = bench.run()
    assert [result["way"] for result in results] == ["rake", "runner", "runner"]
    assert task_of(bench.jobs.started[0]) == f"{TASK}:main"
    assert task_of(bench.jobs.started[1]) == f"{TASK}:ci"
    assert [argv[0] for argv in bench.jobs.started[2:]] == ["/opt/gitlab/bin/gitlab-rails"] * 2
    assert "exited 0 and did nothing" in results[1]["notes"][0]
    assert results[2]["notes"] == []


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


def test_a_failing_job_ends_this_one_and_not_the_others(make: Callable[..., Bench]) -> None:
    one, other = row(1), row(2)
    session = FakeSession("main", [one, other])
    session.last_error = {"job_id": 7, "exception_class": "ArgumentError", "exception_message": "boom", "at": None}
    bench = make(session)
    bench.jobs.effects = [ends(1, RAISED, one), finishes(other)]
    failed, finished = bench.run()
    assert "BackfillX on events (main_1) is finalizing, not finished." in failed["error"]
    assert "ArgumentError: boom" in failed["error"]
    assert failed["diagnosis"]["last_error"]["job_id"] == 7
    assert failed["changed"]
    assert finished["error"] is None


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


@pytest.mark.parametrize(("version", "writes"), [("15.11.13", ["reset"]), ("16.3.9", [])])
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


@pytest.mark.parametrize(("age", "writes"), [(300.0, ["free 7"]), (60.0, [])])
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
        [row(1, status=5), row(2)],
        open_jobs=[RUNNING_JOB, {**RUNNING_JOB, "id": 9, "status": 2, "attempts": 3}],
    )
    bench = make(session, version="14.2.7")
    assert bench.step(check_mode=True) is None
    assert [result["changed"] for result in bench.results] == [True, True]
    assert bench.results[0]["freed_jobs"] == [7]
    assert [result["after"]["state"] for result in bench.results] == ["finished", "finished"]
    assert [task_of(tuple(argv)) for argv in bench.memory["commands"]] == [TASK, TASK]
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
