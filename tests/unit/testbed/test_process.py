# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import typing as t

import pytest
from testbed.process import Process, alive, identify, parse_stat, send, wait_for_end

TAIL = "1 2 2 0 -1 4194560 100 200 0 0 5 6 0 0 20 0 1 0 {started} 1000 100 18446744073709551615"


@pytest.mark.parametrize(
    ("text", "state", "started"),
    [
        ("12 (init) S " + TAIL.format(started=345), "S", 345),
        ("12 (a b) c) Z " + TAIL.format(started=9), "Z", 9),
        ("12 () R (x) R " + TAIL.format(started=9), "R", 9),
    ],
)
def test_state_and_start_time(text: str, state: str, started: int) -> None:
    assert parse_stat(text) == (state, started)


def test_a_process_lives_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = identify(child.pid)
    assert alive(process)
    send(process, signal.SIGTERM)
    # It is a zombie now, since nobody has waited for it: that is an end as well.
    assert wait_for_end([process], 5) == []
    child.wait()
    assert not alive(process)
    assert identify(child.pid) is None
    send(process, signal.SIGTERM)


def test_who_ignores_the_signal_is_reported_as_left() -> None:
    process = identify(os.getpid())
    assert wait_for_end([process], 0.03) == [process]


@pytest.mark.parametrize("difference", [{"started": 1}, {"boot": "another"}])
def test_another_process_with_the_same_pid_is_neither_alive_nor_signalled(difference: dict[str, t.Any]) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        other = dataclasses.replace(identify(child.pid), **difference)
        assert not alive(other)
        send(other, signal.SIGKILL)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_no_process_is_not_alive() -> None:
    assert not alive(None)
    assert not alive(Process(2**22 + 1, 1, "x"))
