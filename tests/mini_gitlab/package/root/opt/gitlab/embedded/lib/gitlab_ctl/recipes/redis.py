# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packaged Redis, on a socket unless gitlab.rb gives it an address."""

from __future__ import annotations

from gitlab_ctl import layout
from gitlab_ctl.recipes import runit
from gitlab_ctl.resources import Converge
from gitlab_ctl.settings import Settings

_USER = "gitlab-redis"
_CONFIGURATION = layout.REDIS / "redis.conf"


def enable(run: Converge, settings: Settings) -> None:
    run.recipe("redis::enable")
    run.user(_USER, layout.REDIS, "/bin/false")
    run.directory(layout.REDIS, _USER)
    bind = settings.get("redis", "bind")
    port = settings.get("redis", "port", default=6379) if bind else 0
    lines = [
        f"port {port}",
        *([f"bind {bind}", "protected-mode no"] if bind else []),
        f"unixsocket {layout.REDIS}/redis.socket",
        "unixsocketperm 777",
        f"dir {layout.REDIS}",
        "dbfilename dump.rdb",
        "daemonize no",
        'save "900 1"',
        "maxmemory-policy noeviction",
    ]
    changed = run.template(_CONFIGURATION, "\n".join(lines) + "\n", _USER, 0o644)
    if changed:
        runit.restart_later(run, "redis")
    command = f"exec chpst -u {_USER}:{_USER} {layout.EMBEDDED}/bin/redis-server {_CONFIGURATION}"
    runit.enable(run, runit.Service("redis", command))
