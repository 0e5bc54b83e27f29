# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that are told apart even when their pid is used again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import time
import typing as t


@dataclasses.dataclass(frozen=True)
class Process:
    """pid, start time (clock ticks since the machine's boot) and the boot they belong to."""

    pid: int
    started: int
    boot: str


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time from /proc/PID/stat (fields 3 and 22 in proc(5)).

    The second field is the command's name in brackets and may hold anything, even brackets.
    """
    fields = text[text.rindex(")") + 1 :].split()
    return fields[0], int(fields[19])


def boot_id() -> str:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none or only its zombie."""
    try:
        state, started = parse_stat(pathlib.Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Process(pid, started, boot_id())


def alive(process: Process | None) -> t.TypeGuard[Process]:
    return process is not None and identify(process.pid) == process


def send(process: Process, number: signal.Signals) -> None:
    """Signals the process, never another one that got its pid; a process that ended is no error."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if alive(process):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def wait_for_end(processes: t.Iterable[Process], seconds: float) -> list[Process]:
    """Waits until all have ended; those still alive after ``seconds``."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [process for process in left if alive(process)]
    return left
