# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's loop, with a host that answers as it is told."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import MigrationLines
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction

STEP = {
    "id": "db_migrate",
    "text": "",
    "job": "db_migrate",
    "directory": "/jobs/x",
    "log": "/jobs/x/log",
    "started_at": 1000.0,
}
LOST = AnsibleConnectionFailure("reset by peer")


class Action(LongWorkAction):
    MODULE = "gitlab_fleet.upgrade.db_migrate"

    def __init__(self, calls: list[t.Any], looks: list[t.Any], **arguments: t.Any) -> None:
        self.calls = calls
        self.looks = looks
        self.called_with: list[dict[str, t.Any]] = []
        self.shown: list[str] = []
        self._connection = t.cast("t.Any", SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"), reset=lambda: None))
        self._task = t.cast("t.Any", SimpleNamespace(args=arguments, async_val=0))
        self._options = {"timeout": 0, "poll_interval": 5, "max_connection_failures": 3}
        self._failures = 0
        self._lines = None
        self._offsets = {}
        self._host = "acme-1"

    def make_lines(self, memory: t.Any) -> t.Any:
        return MigrationLines(2)

    def line(self, text: str) -> None:
        self.shown.append(text)

    def _call_module(self, arguments: dict[str, t.Any], wrap_async: bool = False) -> dict[str, t.Any]:
        self.called_with.append(arguments)
        return t.cast("dict[str, t.Any]", self._next(self.calls))

    def _low_level_execute_command(self, cmd: str, *_others: t.Any, **_more: t.Any) -> dict[str, str]:
        return {"stdout": self._next(self.looks)}

    @staticmethod
    def _next(answers: list[t.Any]) -> t.Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def step(number: int = 1) -> dict[str, t.Any]:
    return {"changed": False, "step": STEP, "memory": {"n": number}}


DONE = {"changed": True, "applied": []}
OVER = "@@job 0 0 0\n"
RUNS = "@@job 1 0 0\n"


def test_steps_looks_and_the_end(clock: list[float]) -> None:
    log = "== 20151103134857 CreateLfsObjects: migrating ===\n"
    action = Action([step(), DONE], [f"@@job 1 {len(log)} {len(log)}\n{log}", RUNS, OVER], task="db:migrate")
    assert action._steps(action._task.args) == DONE
    assert action.called_with == [
        {"task": "db:migrate", "wait": False},
        {"task": "db:migrate", "wait": False, "memory": {"n": 1}},
    ]
    assert action.shown == ["migration 1 of 2  20151103134857 CreateLfsObjects"]
    assert clock[0] == 10


def test_a_long_job_has_a_step_each_minute(clock: list[float]) -> None:
    action = Action([step(1), step(2), DONE], [RUNS] * 13 + [OVER], poll_interval=5)
    action._steps(action._task.args)
    assert clock[0] == 60
    assert [call.get("memory") for call in action.called_with] == [None, {"n": 1}, {"n": 2}]


def test_a_failed_step_is_the_result(clock: list[float]) -> None:
    failed = {"failed": True, "msg": "no"}
    assert Action([failed], [])._steps({}) == failed
    assert Action([step(), failed], [OVER])._steps({}) == failed


def test_lost_connections_are_waited_out_with_growing_pauses(clock: list[float]) -> None:
    action = Action([step(), LOST, DONE], [LOST, LOST, OVER])
    assert action._steps({}) == DONE
    assert [text.split("; ")[-1] for text in action.shown] == [
        "next try in 5 s (1 of 3)",
        "next try in 5 s (2 of 3)",
        "connected again",
        "next try in 5 s (1 of 3)",
        "connected again",
    ]
    assert action._connection._shell.tmpdir is None


@pytest.mark.parametrize(("limit", "seconds"), [(3, 5 + 5 + 10), (0, 0)])
def test_past_the_limit_of_lost_connections_the_task_has_failed(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, limit: int, seconds: int
) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    action = Action([step()], [LOST] * (limit + 1), max_connection_failures=limit)
    result = action.run(task_vars={"inventory_hostname": "acme-1"})
    # rescue and always do not run for what is unreachable.
    assert (result["failed"], "unreachable" in result) == (True, False)
    assert f"could not be reached {limit + 1} times in a row" in result["msg"]
    assert "run the same task again" in result["msg"]
    # Else the task would end with the attempt to remove the folder for modules from the host.
    assert action._connection._shell.tmpdir is None
    assert clock[0] == seconds


def test_a_host_that_is_not_there_at_first_is_unreachable_at_once(clock: list[float]) -> None:
    with pytest.raises(AnsibleConnectionFailure, match="reset by peer"):
        Action([LOST], [])._steps({})
    assert clock[0] == 0


def test_the_time_limit_leaves_the_work_running(clock: list[float]) -> None:
    action = Action([step(), step()], [RUNS] * 9, timeout=20)
    result = action._steps(action._task.args)
    assert result["failed"]
    assert result["timed_out"]
    assert "/jobs/x/log" in result["msg"]
    assert clock[0] == 20


def test_somebody_elses_work_is_told_and_waited_for(clock: list[float]) -> None:
    other = dict(STEP, job=None, directory=None, log=None, id="main_1", text="waits for job 7")
    action = Action([{"step": other, "memory": {}}, DONE], [], poll_interval=2)
    assert action._steps(action._task.args) == DONE
    assert action.shown == ["main_1  waits for job 7"]
    assert clock[0] == 2
