# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of this node under runit: real `sv`, called as the init script of each service (facts 5.6)."""

from __future__ import annotations

import os
import subprocess
import typing as t

from gitlab_ctl import layout
from gitlab_ctl.release import Release

MIGRATION_SERVICES = ("postgresql", "patroni", "consul", "redis", "geo-postgresql", "gitaly", "praefect")

_SV_NAMES = {"usr1": "1", "usr2": "2"}


def wait_seconds(release: Release) -> str:
    """SVWAIT: how long `sv` waits for a service before it says timeout."""
    return "30" if release.keeps_service_wait else os.environ.get("SVWAIT", "30")


def known() -> list[str]:
    """All services that reconfigure ever made on this node."""
    return (
        sorted(path.name for path in layout.SERVICE_DEFINITIONS.glob("*"))
        if layout.SERVICE_DEFINITIONS.is_dir()
        else []
    )


def is_enabled(name: str) -> bool:
    return (layout.SERVICES / name).is_symlink()


def is_up(name: str) -> bool:
    """Whether the service is enabled and runs."""
    return is_enabled(name) and status_line(name).startswith("run: ")


def status_line(name: str) -> str:
    return subprocess.run(**_sv(name, "status"), stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def run(command: str, name: str) -> int:
    """Hand one command to one service; what `sv` says goes to this program's output.

    :returns: the exit code of `sv`; 0 for a service that is not enabled.
    """
    if not is_enabled(name):
        if command == "status":
            print(f"{name} disabled", flush=True)
        return 0
    if command == "status":
        return _show_status(name)
    return subprocess.run(**_sv(name, _SV_NAMES.get(command, command)), check=False).returncode


def _show_status(name: str) -> int:
    """The numbers of LSB. Debian's `sv` gives the log's instead, so they are taken from its words."""
    line = status_line(name)
    print(line, flush=True)
    return {"run": 0, "down": 3}.get(line.split(":")[0], 4)


def run_all(command: str, names: t.Iterable[str]) -> int:
    """The exit codes of all services added up, as gitlab-ctl does, kept below the wrap-around of a process's exit code."""
    return min(sum(run(command, name) for name in names), 255)


def _sv(name: str, command: str) -> dict[str, t.Any]:
    environment = {**os.environ, "SVDIR": str(layout.SERVICES), "SVWAIT": wait_seconds(layout.installed_release())}
    return {"args": [str(layout.INIT / name), command], "env": environment, "cwd": "/"}
