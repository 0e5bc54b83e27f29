# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _postgresql_revert as revert
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback import PostgreSQL

NEWER = PostgreSQL(17, True, (16,), (16, 17))
OLD = PostgreSQL(16, True, (), (16, 17))
DOWN = GitLabError("The database gitlabhq_production does not answer: no socket.", "Start PostgreSQL.")
ARGV = ("/opt/gitlab/bin/gitlab-ctl", "revert-pg-upgrade", "-w", "-V", "16")


@dataclass
class Host:
    """A host with one job at most; ``answers`` are what is heard of PostgreSQL, one after another, the last for ever."""

    answers: list[PostgreSQL | GitLabError]
    job: Job | None = None
    started: list[tuple[str, ...]] = field(default_factory=list)
    memory: dict[str, t.Any] = field(default_factory=dict)
    clock: float = 0.0

    def find(self, name: str) -> Job | None:
        return self.job if self.job and self.job.name == name else None

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        self.started.append(tuple(argv))
        self.job = Job(name, tuple(argv), "/jobs/x", RUNNING, 1.0, note=note)
        return self.job

    def collect(self, name: str) -> Job:
        assert self.job is not None
        job, self.job = self.job, None
        return job

    def end(self, rc: int | None) -> None:
        assert self.job is not None
        self.job = replace(self.job, status=LOST if rc is None else ENDED, rc=rc)

    def read(self, session: t.Any) -> PostgreSQL:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GitLabError):
            raise answer
        return answer

    def work(self, accept_loss: bool = True, check_mode: bool = False) -> revert.RevertJob:
        jobs = t.cast("t.Any", self)
        installation = Installation.create("omnibus")
        return revert.RevertJob(
            installation, lambda: t.cast("t.Any", None), jobs, self.memory, revert.Wish(16, accept_loss), check_mode
        )

    def step(self, **options: t.Any) -> dict[str, t.Any] | None:
        """Return the result, None where there is more to do."""
        work = self.work(**options)
        return None if work.advance() else work.result

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host([NEWER])
    monkeypatch.setattr(revert, "read_postgresql", made.read)
    monkeypatch.setattr("time.sleep", made.sleep)
    monkeypatch.setattr("time.monotonic", lambda: made.clock)
    return made


def test_the_server_that_answers_in_the_end_is_the_proof(host: Host) -> None:
    assert host.step() is None
    assert host.started == [ARGV]
    host.end(0)
    # It takes a while to come up.
    host.answers = [DOWN, DOWN, OLD]
    result = host.step()
    assert result is not None
    assert (result["changed"], result["major_before"], result["notes"]) == (True, 17, [])
    assert result["diff"] == {"before": "PostgreSQL 17\n", "after": "PostgreSQL 16\n"}
    assert host.clock == 2


@pytest.mark.parametrize(
    ("rc", "said"), [(0, "exit status 0"), (1, "exit status 1"), (None, "disappeared without an exit status")]
)
def test_another_server_in_the_end_is_a_failure_whatever_was_said(host: Host, rc: int | None, said: str) -> None:
    host.step()
    host.end(rc)
    with pytest.raises(GitLabError, match="and PostgreSQL 17 runs, not 16") as caught:
        host.step()
    assert said in caught.value.msg
    assert "gitlab-ctl revert-pg-upgrade -w -V 16 on the host" in (caught.value.remedy or "")
    assert caught.value.details["major_before"] == 17


def test_no_server_in_the_end_is_a_failure_that_takes_its_time(host: Host) -> None:
    host.step()
    host.end(0)
    host.answers = [DOWN]
    with pytest.raises(GitLabError, match="no PostgreSQL answers") as caught:
        host.step()
    assert caught.value.remedy == "Start PostgreSQL."
    assert host.clock >= 120


def test_the_right_server_counts_more_than_an_exit_status(host: Host) -> None:
    host.step()
    host.end(1)
    host.answers = [OLD]
    result = host.step()
    assert result is not None
    assert "ended with exit status 1, yet PostgreSQL 16 runs" in result["notes"][0]


def test_nothing_to_do(host: Host) -> None:
    host.answers = [OLD]
    result = host.step(accept_loss=False)
    assert result is not None
    assert (result["changed"], result["commands"], host.started) == (False, [], [])


def test_check_mode_says_what_it_would_run_and_what_forbids_it(host: Host) -> None:
    result = host.step(accept_loss=False, check_mode=True)
    assert result is not None
    assert (result["changed"], result["commands"], host.started) == (True, [list(ARGV)], [])
    host.answers = [replace(NEWER, kept_majors=())]
    with pytest.raises(GitLabError, match="has nothing to go back to"):
        host.step(check_mode=True)


@pytest.mark.parametrize(
    ("found", "options", "said"),
    [
        (NEWER, {"accept_loss": False}, "loses everything that was written since it was upgraded to 17"),
        (replace(NEWER, kept_majors=()), {}, "has nothing to go back to"),
        (replace(NEWER, bundled_majors=(17,)), {}, "does not bring PostgreSQL 16 any more"),
        (replace(NEWER, packaged=False), {}, "is not that of the package"),
        (PostgreSQL(15, True), {}, "PostgreSQL 15 runs"),
        (DOWN, {}, "does not answer"),
    ],
)
def test_what_is_refused_begins_nothing(
    host: Host, found: PostgreSQL | GitLabError, options: dict[str, t.Any], said: str
) -> None:
    host.answers = [found]
    with pytest.raises(GitLabError) as caught:
        host.step(**options)
    assert said in caught.value.msg
    assert caught.value.remedy
    assert host.started == []


def test_a_running_one_is_taken_up_and_not_looked_at_in_between(host: Host) -> None:
    host.step()
    with pytest.raises(GitLabError, match="is running on this host, which an earlier run began"):
        revert.refuse_while_running(t.cast("t.Any", host))
    host.memory = {}
    assert host.step() is None
    host.end(0)
    revert.refuse_while_running(t.cast("t.Any", host))
    host.answers = [OLD]
    result = host.step()
    assert result is not None
    assert (result["changed"], len(host.started)) == (True, 1)
    assert "this run took it up" in result["notes"][0]


def test_one_that_failed_alone_is_run_again(host: Host) -> None:
    host.step()
    host.end(1)
    host.memory = {}
    assert host.step() is None
    assert host.started == [ARGV, ARGV]


def test_a_self_compiled_gitlab_has_no_such_command(host: Host) -> None:
    with pytest.raises(GitLabError, match="brings no PostgreSQL"):
        revert.RevertJob(
            Installation.create("source"),
            lambda: t.cast("t.Any", None),
            t.cast("t.Any", host),
            {},
            revert.Wish(16, True),
            False,
        )
