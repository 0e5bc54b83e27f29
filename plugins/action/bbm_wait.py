# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_reading import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._status import read_status
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._waiting import (
    FINISHED,
    PAUSED,
    Limits,
    Waiting,
    now_here,
    parse_deadline,
)

Result = t.Dict[str, t.Any]

OPTIONS: Result = {
    "until": {"type": "str", "choices": [FINISHED, PAUSED], "default": FINISHED},
    "at_most": {"type": "int", "default": 0},
    "delay": {"type": "int", "default": 30},
    "timeout": {"type": "int", "default": 0},
    "stall_timeout": {"type": "int", "default": 3600},
    "deadline": {"type": "str"},
    "max_connection_failures": {"type": "int", "default": 10},
}
# What is waited for is what is unfinished.
NOT_CHOSEN_BY = "state"


class ActionModule(ActionBase):
    """Asks for the status again and again, shows what is new in it, and ends when there is nothing left to wait for."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Any = None, task_vars: Result | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        spec = argument_spec(**OPTIONS)
        del spec[NOT_CHOSEN_BY]
        _validation, options = self.validate_argument_spec(argument_spec=spec)
        self._variables = task_vars or {}
        self._host = str(self._variables.get("inventory_hostname", ""))
        try:
            result.update(self._wait(options))
        except GitLabError as error:
            result.update(error.to_result(), failed=True)
        result["changed"] = False
        return result

    def _wait(self, options: Result) -> Result:
        limits = _limits(options)
        waiting = Waiting(limits, Throttle())
        query = dict(options, state=["unfinished"])
        # A host that cannot be reached at the start is unreachable; an instance that cannot be read has failed.
        status = read_status(self, self._variables, query)
        if status.get("failed"):
            return status
        while True:
            for line in waiting.observe(status, time.monotonic()):
                self._show(line)
            for warning in waiting.warnings(now_here()):
                self._show(warning)
            result = {"status": status, **waiting.to_result()}
            if waiting.reached() or self._task.check_mode:
                return result
            failure = waiting.failure(now_here())
            if failure:
                return dict(result, failed=True, msg=failure)
            status = self._next_status(query, options, limits)
            if status.get("failed"):
                # Whether it has been reached meanwhile is not known.
                del result["reached"]
                return {**result, **status}

    def _next_status(self, query: Result, options: Result, limits: Limits) -> Result:
        """Return the next status; an instance that does not answer (a restart, a lost connection) is asked again."""
        allowed = options["max_connection_failures"]
        failures = 0
        while True:
            time.sleep(_pause(options["delay"], limits))
            try:
                status = read_status(self, self._variables, query)
            except AnsibleConnectionFailure as error:
                # Not unreachable: Ansible runs rescue and always for failures only.
                status = {"failed": True, "msg": str(error)}
                self._forget_connection()
            if not status.get("failed"):
                if failures:
                    self._show("answers again")
                return status
            failures += 1
            if failures > allowed:
                message = f"No answer {failures} times in a row. The migrations go on by themselves; wait again later."
                return dict(status, msg=f"{message} {status['msg']}")
            self._show(f"no answer ({failures} of {allowed}): {' '.join(str(status['msg']).split())}")

    def _forget_connection(self) -> None:
        # The host may have been restarted: neither the shared connection nor the folder for modules is there any more.
        self._connection._shell.tmpdir = None
        with contextlib.suppress(AnsibleError, AttributeError, OSError):
            self._connection.reset()

    def _show(self, line: str) -> None:
        Display().display(f"{self._host}  {line}")


def _limits(options: Result) -> Limits:
    for name in ("delay", "timeout", "stall_timeout", "at_most", "max_connection_failures"):
        if options[name] < (1 if name == "delay" else 0):
            raise GitLabError(
                f"{name} cannot be {options[name]}.", "Give a number of seconds, or of tries, that is not negative."
            )
    return Limits(
        until=options["until"],
        at_most=options["at_most"],
        timeout=options["timeout"],
        stall_timeout=options["stall_timeout"],
        deadline=parse_deadline(options["deadline"], now_here()) if options["deadline"] else None,
    )


def _pause(delay: float, limits: Limits) -> float:
    """Return how long to sleep: not past the deadline."""
    if limits.deadline is None:
        return delay
    return max(0.0, min(delay, (limits.deadline - now_here()).total_seconds()))
