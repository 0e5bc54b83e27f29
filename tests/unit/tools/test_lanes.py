# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LANES = Path(__file__).parents[2] / "tools/lanes.py"


@pytest.fixture
def make(tmp_path: Path) -> Path:
    """A make whose levels say and do little."""
    program = tmp_path / "make"
    program.write_text(f"""#!/bin/sh
cd {tmp_path}
echo "here is $1"
case $1 in
  bad) echo worse >&2; exit 3;;
  waits) for n in $(seq 100); do [ -e shows ] && exit 0; sleep 0.1; done; exit 1;;
  shows) touch shows;;
  stays) echo $$ > stays; exec sleep 600;;
esac
""")
    program.chmod(0o755)
    return program


def run(make: Path, *lanes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, LANES, make, *lanes], capture_output=True, text=True, timeout=60, check=False
    )


def test_lanes_run_side_by_side_and_a_level_that_fails_stops_nothing(make: Path) -> None:
    done = run(make, "bad,waits", "good,shows")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert {"bad   | here is bad", "bad   | worse", "shows | here is shows"} <= set(lines)
    assert lines[-1] == "Failed: bad"
    assert [line.split()[:2] for line in lines[-5:-1]] == [
        ["bad", "FAILED"],
        ["waits", "passed"],
        ["good", "passed"],
        ["shows", "passed"],
    ]


def test_all_passed(make: Path) -> None:
    done = run(make, "good", "shows")
    assert done.returncode == 0
    assert "Failed" not in done.stdout


def test_when_it_is_ended_so_is_what_it_started(make: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, LANES, make, "stays"], stdout=subprocess.DEVNULL) as process:
        started = tmp_path / "stays"
        while not (started.exists() and started.read_text().strip()):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    group = int(started.read_text())
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
