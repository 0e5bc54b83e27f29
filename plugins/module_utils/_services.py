# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The services of the Linux package: what C(gitlab-ctl status) says, and what is left to do for a wish.

The lines are those of runit's C(sv): https://smarden.org/runit/sv.8.html. Exit codes of C(gitlab-ctl) differ between
its versions and are not used.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

RUN = "run"
DOWN = "down"
DISABLED = "disabled"
FAIL = "fail"

STARTED = "started"
STOPPED = "stopped"
RESTARTED = "restarted"
RESTORED = "restored"
STATES = (STARTED, STOPPED, RESTARTED, RESTORED)

# A service that dies at once is started again by runit each second, and looks like a running one in between.
SETTLED_SECONDS = 2

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SUPERVISED = re.compile(r"(?P<state>run|down|finish|fail|warning): (?:\S*/)?(?P<name>[\w.-]+): (?P<rest>[^;]*)")
_DISABLED = re.compile(r"(?P<name>[\w.-]+) disabled\s*\Z")
_PID = re.compile(r"\(pid (\d+)\)")
_SECONDS = re.compile(r"(?:\A|\s)(\d+)s\b")


@dataclass(frozen=True)
class Service:
    """One service. ``state`` is C(run), C(down), C(disabled), C(fail) (not supervised), or runit's own word for
    something in between; ``seconds`` is how long it is in that state, ``detail`` the line's own text."""

    state: str
    pid: int | None
    seconds: int | None
    detail: str

    @property
    def runs(self) -> bool:
        """Whether it runs and is to go on running."""
        return self.state == RUN and "want down" not in self.detail

    @property
    def stands(self) -> bool:
        """Whether it is down and is to stay down; runit shows a crashing service as down for a moment."""
        return self.state == DOWN and "want up" not in self.detail

    def to_dict(self) -> dict[str, t.Any]:
        """Return the JSON-safe form for results."""
        return asdict(self)


def parse_status(text: str) -> dict[str, Service]:
    """Read what C(gitlab-ctl status) printed, by service. The state of a service's logger is left out."""
    services: dict[str, Service] = {}
    for line in _COLOUR.sub("", text).splitlines():
        match = _SUPERVISED.match(line)
        if match:
            rest = match.group("rest").strip()
            services[match.group("name")] = Service(
                FAIL if match.group("state") in ("fail", "warning") else match.group("state"),
                _number(_PID, rest),
                _number(_SECONDS, rest),
                rest,
            )
            continue
        match = _DISABLED.match(line)
        if match:
            services[match.group("name")] = Service(DISABLED, None, None, DISABLED)
    return services


def absent(services: t.Mapping[str, Service], names: t.Iterable[str]) -> list[str]:
    """Return the names that this node does not run at all: unknown to it, or disabled in its configuration."""
    return [name for name in names if name not in services or services[name].state == DISABLED]


def reached(state: str, before: Service, now: Service) -> bool:
    """Whether a service that was ``before`` is proven to be in the state that was asked for."""
    if state == STOPPED:
        return now.stands
    settled = now.runs and now.seconds is not None and now.seconds >= SETTLED_SECONDS
    return settled and not (state == RESTARTED and now.pid == before.pid)


def needs(state: str, service: Service) -> str | None:
    """Return the C(gitlab-ctl) command that leads to ``state``, or None where the service is there already."""
    if state == RESTARTED:
        return "restart"
    if state == STOPPED:
        return None if service.stands else "stop"
    return None if service.runs else "start"


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match.group(1)) if match else None
