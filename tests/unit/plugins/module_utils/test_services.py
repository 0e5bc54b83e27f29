# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _services
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._services import Service

STATUS = """\
run: gitaly: (pid 1158) 6757s; run: log: (pid 562) 6974s
run: gitlab-workhorse: (pid 1160) 6757s; run: log: (pid 563) 6974s
down: puma: 13s, normally up; run: log: (pid 806) 6822s
run: sidekiq: (pid 99) 41s, want down, got TERM; run: log: (pid 564) 6974s
down: nginx: 1s, normally up, want up; run: log: (pid 565) 6974s
down: mattermost: 6974s; run: log: (pid 566) 6974s
fail: redis: runsv not running; fail: log: runsv not running
finish: registry: (pid 77) 0s; run: log: (pid 567) 6974s
warning: geo-logcursor: unable to open supervise/ok: access denied
run: /opt/gitlab/service/alertmanager: (pid 12) 5s; run: log: (pid 13) 5s
run: consul: (pid 1) 99s, got TERM; run: log: (pid 14) 99s
prometheus disabled

Something else that is said: now and then
"""

GOLDEN = {
    "gitaly": Service("run", 1158, 6757, "(pid 1158) 6757s"),
    "gitlab-workhorse": Service("run", 1160, 6757, "(pid 1160) 6757s"),
    "puma": Service("down", None, 13, "13s, normally up"),
    "sidekiq": Service("run", 99, 41, "(pid 99) 41s, want down, got TERM"),
    "nginx": Service("down", None, 1, "1s, normally up, want up"),
    "mattermost": Service("down", None, 6974, "6974s"),
    "redis": Service("fail", None, None, "runsv not running"),
    "registry": Service("finish", 77, 0, "(pid 77) 0s"),
    "geo-logcursor": Service("fail", None, None, "unable to open supervise/ok: access denied"),
    "alertmanager": Service("run", 12, 5, "(pid 12) 5s"),
    "consul": Service("run", 1, 99, "(pid 1) 99s, got TERM"),
    "prometheus": Service("disabled", None, None, "disabled"),
}


def test_every_kind_of_line_is_read() -> None:
    assert _services.parse_status(STATUS) == GOLDEN


def test_colours_and_carriage_returns_do_not_matter() -> None:
    text = STATUS.replace("run:", "\x1b[32mrun\x1b[0m:").replace("\n", "\r\n")
    assert _services.parse_status(text) == GOLDEN


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    _services.parse_status(text)


def running(seconds: int = 60, pid: int = 7) -> Service:
    return Service("run", pid, seconds, f"(pid {pid}) {seconds}s")


STOPPING = GOLDEN["sidekiq"]
CRASHING = GOLDEN["nginx"]
DOWN = GOLDEN["puma"]


@pytest.mark.parametrize(
    ("state", "service", "command"),
    [
        ("started", running(), None),
        ("started", running(0), None),
        ("started", DOWN, "start"),
        ("started", STOPPING, "start"),
        ("started", CRASHING, "start"),
        ("started", GOLDEN["registry"], "start"),
        ("stopped", running(), "stop"),
        ("stopped", STOPPING, "stop"),
        ("stopped", CRASHING, "stop"),
        ("stopped", DOWN, None),
        ("stopped", GOLDEN["mattermost"], None),
        ("restarted", running(), "restart"),
        ("restarted", DOWN, "restart"),
    ],
)
def test_only_what_is_needed_is_done(state: str, service: Service, command: str | None) -> None:
    assert _services.needs(state, service) == command


@pytest.mark.parametrize(
    ("state", "before", "now", "reached"),
    [
        ("started", DOWN, running(2), True),
        ("started", DOWN, running(1), False),  # runit would show a service that dies at once just so
        ("started", DOWN, CRASHING, False),
        ("started", running(), STOPPING, False),
        ("stopped", running(), DOWN, True),
        ("stopped", running(), STOPPING, False),
        ("stopped", running(), CRASHING, False),
        ("stopped", running(), GOLDEN["redis"], False),
        ("restarted", running(60, pid=7), running(61, pid=7), False),
        ("restarted", running(60, pid=7), running(2, pid=8), True),
        ("restarted", running(60, pid=7), running(1, pid=8), False),
        ("restarted", DOWN, running(2, pid=8), True),
    ],
)
def test_what_proves_a_state(state: str, before: Service, now: Service, reached: bool) -> None:
    assert _services.reached(state, before, now) is reached


def test_services_that_are_unknown_or_disabled_are_absent() -> None:
    assert _services.absent(GOLDEN, ["puma", "prometheus", "praefect", "redis"]) == ["prometheus", "praefect"]
