# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes as the recorder ran them."""

from __future__ import annotations

import shlex
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Ended:
    """How a process ended; `code` is None when it was killed because it did not end."""

    code: int | None
    stdout: str
    stderr: str


class Process:
    """A process with output to pipes, or to one terminal."""

    def __init__(
        self, command: list[str], *, cwd: Path, env: dict[str, str], stdin: str | None, terminal: bool
    ) -> None:
        if terminal:
            command = ["script", "-qefc", shlex.join(command), "/dev/null"]
        source = subprocess.PIPE if stdin is not None else subprocess.DEVNULL
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if stdin is not None:
            assert self._process.stdin
            self._process.stdin.write(stdin)
            self._process.stdin.close()
            # communicate() would write to it again
            self._process.stdin = None

    def finish(self, limit: float) -> Ended:
        """Waits for the end, but not longer than `limit` seconds."""
        try:
            stdout, stderr = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            stdout, stderr = self._process.communicate()
            return Ended(None, stdout, stderr)
        return Ended(self._process.returncode, stdout, stderr)

    def send_when(self, number: signal.Signals, ready: Callable[[], bool], limit: float) -> None:
        """Sends a signal as soon as `ready` says so.

        Raises:
            TimeoutError: it never said so.
        """
        until = time.monotonic() + limit
        while not ready():
            if time.monotonic() > until or self._process.poll() is not None:
                raise TimeoutError("the moment for the signal did not come")
            time.sleep(0.1)
        self._process.send_signal(number)
