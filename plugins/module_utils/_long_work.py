# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How a module does work that takes hours: in steps, of which each does what can be done now and names what to wait for.

A module that is run by itself waits here, on the host. One that is called by its action plugin returns after each step
(option C(wait)), so that the controller can show how it goes.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Job

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

# The next step looks whether the work goes round in circles, even while its job runs.
STEP_SECONDS = 60

# A poll_interval of 0 would ask without a pause.
LEAST = {"timeout": 0, "poll_interval": 1, "max_connection_failures": 0}


class Waiting(t.NamedTuple):
    """What the work waits for: a job of this host, or (``job`` is None) somebody else's. ``text`` is for people."""

    id: str
    job: Job | None
    text: str


class Work(t.Protocol):
    """Work in steps."""

    def advance(self) -> Waiting | None:
        """Do what can be done now. Return what is to be waited for before the next call, or None when all is over."""


def argument_spec(**options: t.Any) -> dict[str, t.Any]:
    """Return the options of the doc fragment C(long_work), plus ``options``."""
    spec: dict[str, t.Any] = {
        "timeout": {"type": "int", "default": 0},
        "poll_interval": {"type": "int", "default": 5},
        "max_connection_failures": {"type": "int", "default": 30},
        "wait": {"type": "bool", "default": True},
        "memory": {"type": "dict"},
    }
    spec.update(options)
    return spec


def run(work: Work, jobs: Jobs, params: t.Mapping[str, t.Any]) -> Waiting | None:
    """Do one step (C(wait=false)) or all of them; return what is left to wait for, None when the work is over.

    :raises GitLabError: a number makes no sense (nothing has begun then), or the time given by C(timeout) has passed.
    """
    _check_numbers(params)
    deadline = time.monotonic() + params["timeout"] if params["timeout"] else None
    while True:
        waiting = work.advance()
        if waiting is None or not params["wait"]:
            return waiting
        if deadline is not None and time.monotonic() >= deadline:
            raise timed_out(waiting.id, waiting.job.log if waiting.job else None, params["timeout"])
        pause = STEP_SECONDS if waiting.job else params["poll_interval"]
        if deadline is not None:
            pause = min(pause, max(0.0, deadline - time.monotonic()))
        _pause(jobs, waiting.job, pause, params["poll_interval"])


def step_result(waiting: Waiting, memory: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the result of a step after which there is more to do."""
    job = waiting.job
    step = {
        "id": waiting.id,
        "text": waiting.text,
        "job": job and job.name,
        "directory": job and job.directory,
        "log": job and job.log,
        "started_at": job and job.started_at,
    }
    return {"changed": False, "step": step, "memory": memory}


def timed_out(what: str, log: str | None, seconds: int) -> GitLabError:
    """Say that the time is over, and what is still going on."""
    still = f" It goes on on the host; its output is {log}." if log else ""
    return GitLabError(
        f"{what} is not done after {seconds} seconds.{still}",
        "Run the same task again, with a longer timeout or none: it takes up the running job.",
        timed_out=True,
        log=log,
    )


def _check_numbers(params: t.Mapping[str, t.Any]) -> None:
    for name, least in LEAST.items():
        if params[name] < least:
            raise GitLabError(f"{name} cannot be {params[name]}.", f"Give a number from {least} on.")


def _pause(jobs: Jobs, job: Job | None, seconds: float, poll_interval: int) -> None:
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, poll_interval, 1 if job else left))
        present = jobs.find(job.name) if job else None
        if job and (present is None or present.status != RUNNING):
            return
