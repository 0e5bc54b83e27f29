# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The controller's side of work that takes hours: calls the module of the same name step by step, shows how it goes in
between, and outlives a connection that breaks."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job_poll import Look, look_command, parse_look
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import (
    STEP_SECONDS,
    argument_spec,
    timed_out,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import LogLines

Result = t.Dict[str, t.Any]
Answer = t.TypeVar("Answer")

LONGEST_PAUSE = 60


class LongWorkAction(ActionBase):
    """Base of the action plugins whose module does its work as jobs."""

    TRANSFERS_FILES = False
    MODULE: t.ClassVar[str]

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        self._supports_async = True
        self._display = Display()
        self._variables = task_vars or {}
        self._host: str = self._variables.get("inventory_hostname", "")
        self._options = {name: option.get("default") for name, option in argument_spec().items()}
        self._failures = 0
        self._lines: LogLines | None = None
        self._throttle = Throttle()
        self._offsets: dict[tuple[str, float], int] = {}
        result: Result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._task.async_val:
            # Ansible polls by itself then; the module waits on the host.
            result.update(self._call_module(arguments, wrap_async=True))
            return result
        try:
            result.update(self._steps(arguments))
        except GitLabError as error:
            result.update(error.to_result(), failed=True, changed=False)
        return result

    def make_lines(self, memory: t.Mapping[str, t.Any]) -> LogLines | None:
        """Return what makes lines of progress from the job's output, if anything does."""
        return None

    def show(self, step: t.Mapping[str, t.Any], look: Look) -> None:
        """Called for each look at a running job: show what is new."""
        if self._lines is not None:
            for line in self._lines.feed(look.text, time.monotonic()):
                self.line(line)

    def line(self, text: str) -> None:
        """Show one line of progress, at normal verbosity."""
        self._display.display(f"{self._host}  {text}")

    def reach(self, ask: t.Callable[[], Answer]) -> Answer:
        """Return what ``ask`` returns; while the host cannot be reached, wait and try again.

        :raises GitLabError: C(max_connection_failures) tries in a row have failed. That is a failure, and not a host that
            is unreachable: Ansible runs C(rescue) and C(always), which start other nodes again, for failures only.
        """
        while True:
            try:
                answer = ask()
            except AnsibleConnectionFailure as error:
                self._failures += 1
                # Also before giving up: Ansible would still want to remove the folder for modules from the host.
                self._forget_connection()
                limit = self._options["max_connection_failures"]
                if self._failures > limit:
                    raise GitLabError(
                        f"The host could not be reached {self._failures} times in a row while work was running there. {error}",
                        "The work goes on; run the same task again to wait for it.",
                    ) from error
                pause = min(LONGEST_PAUSE, self._options["poll_interval"] * 2 ** max(0, self._failures - 2))
                self.line(f"connection lost, the work goes on; next try in {pause} s ({self._failures} of {limit})")
                time.sleep(pause)
            else:
                if self._failures:
                    self.line("connected again")
                self._failures = 0
                return answer

    def _steps(self, arguments: Result) -> Result:
        started = time.monotonic()
        memory: t.Any = None
        while True:
            step_arguments = dict(arguments, wait=False)
            if memory is not None:
                step_arguments["memory"] = memory
            if memory is None:
                # Nothing is running yet: a host that cannot be reached is unreachable.
                result = self._call_module(step_arguments)
            else:
                result = self.reach(lambda args=step_arguments: self._call_module(args))  # type: ignore[misc]
            if result.get("failed") or "step" not in result:
                return result
            if memory is None:
                # The module has checked them.
                self._options.update({name: int(arguments[name]) for name in self._numbers() if name in arguments})
                self._lines = self.make_lines(result["memory"])
            memory = result["memory"]
            step = result["step"]
            timeout = self._options["timeout"]
            if timeout and time.monotonic() - started >= timeout:
                return dict(timed_out(step["id"], step["log"], timeout).to_result(), failed=True, changed=False)
            left = started + timeout - time.monotonic() if timeout else STEP_SECONDS
            self._watch(step, min(STEP_SECONDS, left))

    def _numbers(self) -> list[str]:
        return [name for name, option in argument_spec().items() if option["type"] == "int"]

    def _watch(self, step: t.Mapping[str, t.Any], seconds: float) -> None:
        """Look at what is waited for, until it is over or the time for the next step has come."""
        interval: int = self._options["poll_interval"]
        if not step["job"]:
            self.line(f"{step['id']}  {step['text']}")
            time.sleep(min(interval, max(0.0, seconds)))
            return
        end = time.monotonic() + seconds
        while True:
            look = self._look(step)
            if look is None:
                return
            self.show(step, look)
            left = end - time.monotonic()
            if not (look.running or look.more) or left <= 0:
                return
            if not look.more:
                time.sleep(min(interval, left))

    def _look(self, step: t.Mapping[str, t.Any]) -> Look | None:
        # A later job of the same name begins a log of its own.
        job = (step["directory"], step["started_at"])
        command = look_command(step["directory"], self._offsets.get(job, 0))
        look = parse_look(self.reach(lambda: self._low_level_execute_command(command))["stdout"])
        if look is not None:
            self._offsets[job] = look.offset
        return look

    def _call_module(self, arguments: Result, wrap_async: bool = False) -> Result:
        result: Result = self._execute_module(
            module_name=self.MODULE, module_args=arguments, task_vars=self._variables, wrap_async=wrap_async
        )
        # How the work was cut into steps is nobody's concern.
        called_with = result.get("invocation", {}).get("module_args", {})
        called_with.pop("memory", None)
        called_with.pop("wait", None)
        return result

    def _forget_connection(self) -> None:
        # The host may have been restarted: neither the shared connection nor the folder for modules is there any more.
        self._connection._shell.tmpdir = None
        with contextlib.suppress(AnsibleError, AttributeError, OSError):
            self._connection.reset()
