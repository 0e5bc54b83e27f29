# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job, NotOverError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob

ARGV = ("gitlab-ctl", "reconfigure")


@dataclass
class FakeJobs:
    present: Job | None = None
    started: int = 0
    # Another run takes the job in between a look and the taking.
    taken: bool = False

    def find(self, name: str) -> Job | None:
        return self.present

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        self.started += 1
        self.present = Job(name, tuple(argv), "/jobs/x", RUNNING, 1.0, note=note)
        return self.present

    def end(self, rc: int | None) -> None:
        assert self.present is not None
        self.present = replace(self.present, status=LOST if rc is None else ENDED, rc=rc)

    def collect(self, name: str) -> Job:
        if self.taken:
            self.present = None
            raise NotOverError(f"The job {name} is not over.", None)
        assert self.present is not None
        job, self.present = self.present, None
        return job


class Reconfigure(OneJob):
    name = "reconfigure"
    needed = True

    def __init__(self, jobs: FakeJobs, memory: dict[str, t.Any], check_mode: bool = False) -> None:
        super().__init__(t.cast("t.Any", jobs), memory, ARGV, None, check_mode)
        self.concluded: list[tuple[int | None, t.Any]] = []

    def prepare(self) -> tuple[bool, t.Any]:
        return self.needed, {"seen": 1}

    def conclude(self, job: Job | None, note: t.Any) -> None:
        self.concluded.append((job.rc if job else None, note))

    def counts(self, job: Job) -> bool:
        return job.rc == 0


@dataclass
class Run:
    jobs: FakeJobs = field(default_factory=FakeJobs)
    memory: dict[str, t.Any] = field(default_factory=dict)

    def step(self, check_mode: bool = False) -> tuple[t.Any, Reconfigure]:
        self.memory = json.loads(json.dumps(self.memory))
        work = Reconfigure(self.jobs, self.memory, check_mode)
        return work.advance(), work


def test_start_watch_conclude() -> None:
    run = Run()
    waiting, _work = run.step()
    assert waiting.job is not None
    run.step()
    run.jobs.end(0)
    waiting, work = run.step()
    assert (waiting, work.concluded, run.jobs.started, work.notes) == (None, [(0, {"seen": 1})], 1, [])


def test_a_failure_that_was_watched_is_this_runs_own() -> None:
    run = Run()
    run.step()
    run.jobs.end(1)
    _waiting, work = run.step()
    assert work.concluded == [(1, {"seen": 1})]


def test_what_another_run_has_taken_in_meanwhile_is_over_for_this_one_too() -> None:
    run = Run()
    run.step()
    run.jobs.end(0)
    run.jobs.taken = True
    waiting, work = run.step()
    assert (waiting, work.concluded, run.jobs.started) == (None, [(None, {"seen": 1})], 1)


def test_a_running_one_is_taken_up_and_said_so_once() -> None:
    run = Run()
    run.step()
    run.memory = {}
    run.step()
    run.step()
    run.jobs.end(0)
    _waiting, work = run.step()
    assert run.jobs.started == 1
    assert work.notes == ["It was running already; this run took it up."]


@pytest.mark.parametrize(("rc", "started", "notes"), [(0, 1, 0), (1, 2, 1), (None, 2, 1)])
def test_only_a_success_that_nobody_watched_counts(rc: int | None, started: int, notes: int) -> None:
    run = Run()
    run.step()
    run.jobs.end(rc)
    run.memory = {}
    _waiting, work = run.step()
    assert (run.jobs.started, len(work.notes)) == (started, notes)


def test_a_result_that_another_run_took_is_concluded_without_it() -> None:
    run = Run()
    run.step()
    run.jobs.present = None
    _waiting, work = run.step()
    assert (work.concluded, run.jobs.started) == ([(None, {"seen": 1})], 1)


def test_check_mode_starts_and_collects_nothing() -> None:
    run = Run()
    _waiting, work = run.step(check_mode=True)
    assert (work.concluded, run.jobs.started) == ([(None, {"seen": 1})], 0)


def test_what_is_not_needed_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconfigure, "needed", False)
    run = Run()
    _waiting, work = run.step()
    assert (work.concluded, run.jobs.started) == ([(None, {"seen": 1})], 0)


def test_another_command_under_the_same_name_is_an_error() -> None:
    run = Run(FakeJobs(Job("reconfigure", ("other", "command"), "/jobs/x", RUNNING, 1.0)))
    with pytest.raises(GitLabError, match="other command is running on this host"):
        run.step()


PARAMS = {"timeout": 0, "poll_interval": 1, "max_connection_failures": 30, "wait": True}


class Steps:
    """Work that waits for somebody else so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def advance(self) -> _long_work.Waiting | None:
        self.left -= 1
        return _long_work.Waiting("main_1", None, "waits") if self.left >= 0 else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += max(seconds, 0.001)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_module_by_itself_waits_to_the_end(clock: list[float]) -> None:
    work = Steps(3)
    assert _long_work.run(work, t.cast("t.Any", FakeJobs()), PARAMS) is None
    assert clock[0] == pytest.approx(3, abs=0.1)


def test_one_step_returns_at_once(clock: list[float]) -> None:
    waiting = _long_work.run(Steps(3), t.cast("t.Any", FakeJobs()), dict(PARAMS, wait=False))
    assert waiting is not None
    assert clock[0] == 0
    result = _long_work.step_result(waiting, {"ids": []})
    assert (result["changed"], result["step"]["job"], result["memory"]) == (False, None, {"ids": []})


@pytest.mark.parametrize("wrong", [{"timeout": -1}, {"poll_interval": 0}, {"max_connection_failures": -1}])
def test_a_number_without_a_sense_is_refused_before_anything_begins(wrong: dict[str, int]) -> None:
    work = Steps(3)
    with pytest.raises(GitLabError, match=r"cannot be .*Give a number from"):
        _long_work.run(work, t.cast("t.Any", FakeJobs()), {**PARAMS, **wrong})
    assert work.left == 3


def test_when_the_time_is_over_the_work_goes_on_without_us(clock: list[float]) -> None:
    with pytest.raises(GitLabError, match="main_1 is not done after 5 seconds") as caught:
        _long_work.run(Steps(100), t.cast("t.Any", FakeJobs()), dict(PARAMS, timeout=5))
    assert caught.value.details["timed_out"]
    assert clock[0] == pytest.approx(5, abs=0.1)


def test_a_job_that_ends_is_noticed_before_the_next_minute(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = FakeJobs()
    run = Run(jobs)

    class Once:
        turns = 0

        def advance(self) -> _long_work.Waiting | None:
            self.turns += 1
            return t.cast("_long_work.Waiting | None", run.step()[0])

    def find(name: str) -> Job | None:
        if clock[0] >= 7 and jobs.present and jobs.present.status == RUNNING:
            jobs.end(0)
        return jobs.present

    monkeypatch.setattr(jobs, "find", find)
    work = Once()
    assert _long_work.run(work, t.cast("t.Any", jobs), dict(PARAMS, poll_interval=5)) is None
    assert work.turns == 2
    assert clock[0] == pytest.approx(7, abs=1.1)
