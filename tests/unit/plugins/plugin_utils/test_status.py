# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex
import types
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._status import read_status

ANSWER = """\
@@probe begin
@@probe version
| 16.3.9-ee
@@probe end 0
@@probe database gitlabhq_production
@@part server
{"now": "2026-11-20T08:00:00+00:00", "standby": false}
@@part migrations
[]
@@part background
{}
@@part schema_down
[]
@@probe errors
@@probe end 0
@@probe done
"""
OPTIONS = {"databases": {"main": "gitlabhq_production"}}
BY_MODULE = {"changed": False, "by": "module"}


class Action:
    """What read_status uses of an action plugin."""

    def __init__(self, output: str = ANSWER, pipelining: bool = True, become: t.Any = None) -> None:
        self._connection = types.SimpleNamespace(has_pipelining=pipelining, become=become)
        self._output = output
        self.commands: list[tuple[str, bytes]] = []
        self.modules: list[dict[str, t.Any]] = []

    def _low_level_execute_command(self, command: str, in_data: bytes) -> dict[str, t.Any]:
        self.commands.append((command, in_data))
        if self._output == "unreachable":
            raise AnsibleConnectionFailure("lost")
        return {"rc": 0, "stdout": self._output, "stderr": ""}

    def _execute_module(self, **arguments: t.Any) -> dict[str, t.Any]:
        self.modules.append(arguments)
        return dict(BY_MODULE)


def become(name: str, **attributes: t.Any) -> t.Any:
    return types.SimpleNamespace(name=name, **attributes)


def read(action: Action, **options: t.Any) -> dict[str, t.Any]:
    return read_status(action, {}, {**OPTIONS, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [None, become("sudo"), become("sudo", pipelining=True)])
def test_one_command_asks_everything(way: t.Any) -> None:
    action = Action(become=way)
    result = read(action)
    assert (result["gitlab_version"], result["safe_to_upgrade"]) == ("16.3.9-ee", True)
    assert not action.modules
    ((command, question),) = action.commands
    words = shlex.split(command)
    assert words[:2] == ["/bin/sh", "-c"] and words[6] == "gitlabhq_production"
    assert question.startswith(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")


@pytest.mark.parametrize(
    ("action", "options", "tried"),
    [
        pytest.param(Action(pipelining=False), {}, 0, id="the connection carries no data"),
        pytest.param(Action(become=become("su")), {}, 0, id="su of an old core"),
        pytest.param(Action(become=become("other", pipelining=False)), {}, 0, id="become carries no data"),
        pytest.param(Action(), {"database_backend": "psycopg2"}, 0, id="by network"),
        pytest.param(Action("sudo: sorry, you must have a tty to run sudo"), {}, 1, id="the probe did not start"),
    ],
)
def test_otherwise_the_module_does_it(action: Action, options: dict[str, t.Any], tried: int) -> None:
    assert read(action, **options) == BY_MODULE
    assert len(action.commands) == tried
    (call,) = action.modules
    assert call["module_name"] == "gitlab_fleet.upgrade.bbm_status"
    assert call["module_args"]["databases"] == OPTIONS["databases"]
    assert None not in call["module_args"].values()


def test_an_error_is_a_result() -> None:
    result = read(Action(), migrations=["main_1"])
    assert (result["failed"], result["changed"]) == (True, False)
    assert "There is no batched background migration main_1" in result["msg"]


def test_a_lost_connection_is_the_callers() -> None:
    with pytest.raises(AnsibleConnectionFailure):
        read(Action("unreachable"))


def test_options_of_others_are_left_out() -> None:
    action = Action(pipelining=False)
    read(action, timeout=5)
    assert "timeout" not in action.modules[0]["module_args"]
