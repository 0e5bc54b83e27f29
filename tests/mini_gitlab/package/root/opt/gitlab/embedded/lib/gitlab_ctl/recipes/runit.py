# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services under runit: their definition, supervision and restart."""

from __future__ import annotations

import os
import signal
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gitlab_ctl import layout, services
from gitlab_ctl.resources import Converge, ResourceError

_INITTAB = Path("/etc/inittab")
_RESPAWN = "SV:123456:respawn:/opt/gitlab/embedded/bin/runsvdir-start"
_SUPERVISED_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """A runit service.

    :ivar command: the last line of its run script, a shell command that stays in the foreground.
    :ivar control: runit's control scripts by letter: what to do instead of sending that signal.
    """

    name: str
    command: str
    control: t.Mapping[str, str] = field(default_factory=dict)


def supervise(run: Converge) -> None:
    """Let PID 1 keep runsvdir running, and start it now."""
    run.recipe("package::runit_sysvinit")
    run.directory(layout.SERVICES)
    run.directory(layout.SERVICE_DEFINITIONS)
    run.directory(layout.INIT)
    table = _INITTAB.read_text(encoding="utf-8") if _INITTAB.exists() else ""
    missing = _RESPAWN not in table.splitlines()
    if missing:
        _INITTAB.write_text(f"{table}{_RESPAWN}\n", encoding="utf-8")
        os.kill(1, signal.SIGHUP)
    run.record(f"execute[echo '{_RESPAWN}' >> {_INITTAB}]", "run", *["add the line"] * missing)


def enable(run: Converge, service: Service) -> None:
    """Define a service and hand it to runsvdir; a changed definition restarts one that already ran."""
    was_up = services.is_up(service.name)
    definition = layout.SERVICE_DEFINITIONS / service.name
    logs = layout.LOGS / service.name
    run.directory(definition)
    run.directory(definition / "log")
    if not logs.is_dir():
        run.directory(logs, mode=0o700)
    changed = run.template(definition / "run", f"#!/bin/sh\nexec 2>&1\ncd /\n{service.command}\n", mode=0o755)
    run.template(definition / "log/run", f"#!/bin/sh\nexec svlogd -tt {logs}\n", mode=0o755)
    if service.control:
        run.directory(definition / "control")
    for letter, script in service.control.items():
        run.template(definition / "control" / letter, f"#!/bin/sh\n{script}\n", mode=0o755)
    run.link(layout.INIT / service.name, layout.EMBEDDED / "bin/sv")
    run.link(layout.SERVICES / service.name, definition)
    if was_up and changed:
        restart_later(run, service.name)


def start(run: Converge, names: t.Sequence[str]) -> None:
    """Wait until runsvdir has taken the services up, which it looks for every five seconds, and start them.

    They are started until the node's first complete run. Later a stopped one stays stopped, as with the real package.
    """
    for name in names:
        _await_supervision(run, name)
        if not layout.BOOTSTRAPPED.exists():
            argv = ["/opt/gitlab/bin/gitlab-ctl", "start", name]
            run.execute(" ".join(argv), argv)


def disable(run: Converge, name: str) -> None:
    """Stop a service and take it from runsvdir; its definition stays, as with the real package."""
    link = layout.SERVICES / name
    enabled = link.is_symlink()
    if enabled:
        services.run("stop", name)
        link.unlink()
    run.record(f"runit_service[{name}]", "disable", *["stop and disable the service"] * enabled)


def restart_later(run: Converge, name: str) -> None:
    """Restart a service at the end of the run, if it is up now."""
    if services.is_up(name):
        run.notify_delayed(f"restart {name}", lambda: _restart(run, name))


def _restart(run: Converge, name: str) -> None:
    argv = ["/opt/gitlab/bin/gitlab-ctl", "restart", name]
    run.execute(" ".join(argv), argv)


def _await_supervision(run: Converge, name: str) -> None:
    pipes = [layout.SERVICE_DEFINITIONS / name / part for part in ("supervise/ok", "log/supervise/ok")]
    deadline = time.monotonic() + _SUPERVISED_WITHIN_SECONDS
    while not all(pipe.exists() for pipe in pipes) or services.status_line(name).endswith("runsv not running"):
        if time.monotonic() > deadline:
            waited = f"{_SUPERVISED_WITHIN_SECONDS:.0f} s"
            text = f"runsvdir did not take up {name} within {waited}: does PID 1 keep runsvdir-start running?"
            raise ResourceError(f"ruby_block[wait for {name} service socket]", "run", "RuntimeError", text)
        time.sleep(0.1)
    run.record(f"ruby_block[wait for {name} service socket]", "run")
