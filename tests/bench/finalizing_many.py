# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long it takes to finish the six migrations of the runbook: bbm_finalize for all, beside six calls of GitLab's task."""

from __future__ import annotations

import os
import statistics
import time
import typing as t

from finalizing import COPY, SIX, Host, left_behind
from instances import Instances

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import job_arguments_json, shell_command

SPEC = "gitlab-14.2.7"
ROWS = 100_000
# As GitLab queues them.
SIZES = {"batch_size": 20_000, "sub_batch_size": 1_000, "pause_ms": 100}
GOAL = 2.0

TASKS = "\n".join(
    shell_command(FINALIZE_TASK, [COPY, table, column, job_arguments_json(arguments)])
    for table, column, arguments in SIX
)


def _by_tasks(host: Host) -> None:
    host.sh(TASKS)


def _by_module(host: Host, parallel: int) -> None:
    result = host.run(all=True, parallel=parallel)
    if result["failed"]:
        raise RuntimeError(result["msg"])


WAYS: dict[str, t.Callable[[Host], None]] = {
    "six tasks": _by_tasks,
    "all": lambda host: _by_module(host, 1),
    "all, parallel: 3": lambda host: _by_module(host, 3),
}


def run(rounds: int) -> t.Iterator[str]:
    """Measure each way ``rounds`` times, each time on a fresh copy of the same instance, and yield the report's lines.

    :raises RuntimeError: the ways did not leave the same rows.
    """
    yield f"# Six migrations of {ROWS} rows each: six calls of GitLab's task in a shell, and a playbook with bbm_finalize"
    image = f"bench-{os.getpid()}"
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    found: dict[str, str] = {}
    with Instances.fleet("bench") as fleet:
        _make_image(fleet, image)
        try:
            yield f"# {_boot_seconds(fleet, image):.1f} s of each call are the start of Rails here, 20 to 60 s in a real GitLab"
            for number in range(rounds):
                for place, (name, way) in enumerate(WAYS.items()):
                    host = Host(fleet, f"bench-{number}-{place}")
                    seconds, found[name] = _measure(host, image, way)
                    taken[name].append(seconds)
                for name, rows in found.items():
                    if rows != found["six tasks"]:
                        raise RuntimeError(f"{name} left other rows: {_difference(found['six tasks'], rows)}")
        finally:
            fleet.call("down")
            fleet.call("rmimage", image)
    middle = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in middle.items():
        goal = f"   goal: at least {GOAL} x as fast" if name == list(WAYS)[-1] else ""
        yield f"{name:18s}  {seconds:7.1f} s   six tasks/this: {middle['six tasks'] / seconds:5.2f}{goal}"


def _make_image(fleet: Instances, image: str) -> None:
    fleet.up({"seed": SPEC})
    host = Host(fleet, "seed")
    # The copies must not begin with the work as soon as they are up.
    host.sh(f"touch /opt/gitlab/sv/sidekiq/down; gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[{ROWS}]'")
    host.clear()
    for configuration in SIX:
        host.add(COPY, *configuration, **SIZES)
    fleet.call("stop", "seed")
    fleet.call("image", "seed", image)


def _boot_seconds(fleet: Instances, image: str) -> float:
    fleet.up_from({"boot": image})
    begin = time.perf_counter()
    fleet.sh("boot", "gitlab-rails runner 1")
    seconds = time.perf_counter() - begin
    fleet.call("down", "boot")
    return seconds


def _measure(host: Host, image: str, way: t.Callable[[Host], None]) -> tuple[float, str]:
    host.fleet.up_from({host.name: image})
    begin = time.perf_counter()
    way(host)
    seconds = time.perf_counter() - begin
    rows = left_behind(host)
    host.fleet.call("down", host.name)
    return seconds, rows


def _difference(one: str, other: str) -> str:
    return "; ".join(sorted(set(one.split("\n")) ^ set(other.split("\n"))))
