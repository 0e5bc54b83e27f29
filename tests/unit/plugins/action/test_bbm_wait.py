# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The loop of C(bbm_wait), with an instance that answers as it is told."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.gitlab_fleet.upgrade.plugins.action import bbm_wait

LOST = AnsibleConnectionFailure("reset by peer")
RESTARTS = {"failed": True, "msg": "the database system is starting up"}
OPTIONS = {name: option.get("default") for name, option in bbm_wait.OPTIONS.items()}

MIGRATION = {
    "id": "main_1",
    "job_class_name": "BackfillX",
    "table_name": "things",
    "state": "active",
    "progress": {"percent": 10.0},
    "rate": None,
    "eta_seconds": None,
    "stalled": False,
    "stalled_reasons": [],
    "last_activity": None,
    "jobs": {"running": 0},
}


def status(*migrations: dict[str, t.Any]) -> dict[str, t.Any]:
    ids = [migration["id"] for migration in migrations]
    return {
        "by_state": {"active": ids},
        "unfinished": ids,
        "blocking": ids,
        "migrations": list(migrations),
        "gitlab_version": "16.3.9-ee",
        "read_at": "2026-11-20T08:00:00Z",
    }


class Action(bbm_wait.ActionModule):
    def __init__(self) -> None:
        self._connection = t.cast("t.Any", SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"), reset=lambda: None))
        self._task = t.cast("t.Any", SimpleNamespace(check_mode=False))
        self._variables = {}
        self.shown: list[str] = []

    def _show(self, line: str) -> None:
        self.shown.append(line)


def wait(monkeypatch: pytest.MonkeyPatch, answers: list[t.Any], **options: t.Any) -> tuple[dict[str, t.Any], Action]:
    def read_status(*_arguments: t.Any) -> t.Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(bbm_wait, "read_status", read_status)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    action = Action()
    return action._wait({**OPTIONS, **options}), action


@pytest.mark.parametrize("silence", [LOST, RESTARTS])
def test_an_instance_that_answers_no_more_is_a_failure(monkeypatch: pytest.MonkeyPatch, silence: t.Any) -> None:
    result, action = wait(monkeypatch, [status(MIGRATION), *[silence] * 3], max_connection_failures=2)
    # rescue and always do not run for what is unreachable.
    assert (result["failed"], "unreachable" in result) == (True, False)
    assert result["msg"].startswith("No answer 3 times in a row. The migrations go on by themselves; wait again later.")
    # Nobody knows.
    assert "reached" not in result
    assert result["left"] == ["main_1"]
    assert len([line for line in action.shown if line.startswith("no answer")]) == 2


def test_an_instance_that_answers_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result, action = wait(monkeypatch, [status(MIGRATION), LOST, RESTARTS, status()])
    assert (result["reached"], "failed" in result) == (True, False)
    assert "answers again" in action.shown


def test_an_instance_that_is_not_there_at_first_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        wait(monkeypatch, [LOST])
