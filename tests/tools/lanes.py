# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run levels of the tests in lanes side by side, and say at the end what failed.

    lanes.py MAKE LANE...

A lane is the names of its levels with commas between them, run in that order; each level is a target of the Makefile,
called with MAKE. A level that fails does not stop the others. What a level prints has its name before each line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import typing as t

# For the test hosts to be taken down.
SECONDS_TO_END = 60

_print_lock = threading.Lock()


class Outcome(t.NamedTuple):
    """How a level ended, after how many seconds."""

    level: str
    passed: bool
    seconds: float


class Lanes:
    """Lanes of levels. The processes of each level are a group of their own, so that all of them can be ended."""

    def __init__(self, make: str, lanes: t.Sequence[t.Sequence[str]]) -> None:
        self._make = make
        self._lanes = lanes
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False
        self._width = max(len(level) for lane in lanes for level in lane)

    def run(self) -> list[Outcome]:
        """Run everything and return the outcomes, lane by lane."""
        outcomes: list[list[Outcome]] = [[] for _lane in self._lanes]
        threads = [
            threading.Thread(target=self._lane, args=(lane, into), daemon=True)
            for lane, into in zip(self._lanes, outcomes, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._ended = True
            self._end()
        return [outcome for lane in outcomes for outcome in lane]

    def _end(self) -> None:
        for process in list(self._running):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _lane(self, levels: t.Sequence[str], into: list[Outcome]) -> None:
        for level in levels:
            if self._ended:
                return
            begin = time.monotonic()
            self._say(level, "begins")
            passed = self._level(level) == 0
            into.append(Outcome(level, passed, time.monotonic() - begin))
            self._say(level, f"{'passed' if passed else 'FAILED'} after {into[-1].seconds:.0f} s")

    def _level(self, level: str) -> int:
        with subprocess.Popen(
            [self._make, level],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            self._running.add(process)
            for line in process.stdout or ():
                with _print_lock:
                    print(f"{level:{self._width}} | {line.rstrip()}", flush=True)
            rc = process.wait()
            self._running.discard(process)
            return rc

    def _say(self, level: str, words: str) -> None:
        with _print_lock:
            print(f"=== {level} {words}", flush=True)


def summary(outcomes: t.Iterable[Outcome]) -> list[str]:
    """Return the lines that say how each level ended."""
    return [f"  {one.level:12s} {'passed' if one.passed else 'FAILED'} {one.seconds:5.0f} s" for one in outcomes]


def main(arguments: t.Sequence[str]) -> int:
    """Return the exit status: 0 only when every level passed."""
    make, *lanes = arguments
    begin = time.monotonic()
    outcomes = Lanes(make, [lane.split(",") for lane in lanes]).run()
    failed = [one.level for one in outcomes if not one.passed]
    print(f"\n=== Summary, {time.monotonic() - begin:.0f} s", *summary(outcomes), sep="\n")
    if failed:
        print(f"Failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    # The end by CI's limit, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_details: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
