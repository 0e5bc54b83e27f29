# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

TESTS = HERE.parent
MINI_GITLAB = TESTS / "mini_gitlab"
RECORDINGS = TESTS / "data" / "recordings"
VERSION = "18.2.8"
FLEET = "conformance"
HOST = "replay"
# Set to anything: replay on this machine, which then needs the packages of the hosts.
HERE_INSTEAD = "MINI_GITLAB_CONFORMANCE_HERE"

Outcomes = dict[str, dict[str, t.Any]]


def fleet(*arguments: str) -> list[str]:
    return [sys.executable, str(MINI_GITLAB / "fleet.py"), "--fleet", FLEET, *arguments]


def replay(command: list[str]) -> Outcomes:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return t.cast(Outcomes, json.loads(done.stdout))


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Outcomes]:
    """What came of the recordings whose tests were chosen, all played in one go: name to outcome."""
    chosen = {item.callspec.params["name"] for item in request.session.items if hasattr(item, "callspec")}
    assembled = tmp_path_factory.mktemp("conformance") / "app"
    subprocess.run([str(MINI_GITLAB / "app/bin/assemble"), VERSION, str(assembled)], check=True)
    names = sorted(chosen & {path.stem for path in RECORDINGS.glob("*.json")})
    if HERE_INSTEAD in os.environ:
        work = Path("/tmp") / f"mini-gitlab-conformance-{os.getpid()}"
        yield replay(
            [
                "env",
                f"PYTHONPATH={HERE}",
                "python3",
                "-m",
                "replayer",
                str(assembled),
                str(RECORDINGS),
                str(work),
                *names,
            ]
        )
        subprocess.run(["rm", "-rf", str(work)], check=True)
        return
    subprocess.run(fleet("base"), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(fleet("down"), check=True)
    subprocess.run(fleet("up", HOST), check=True)
    try:
        for source, place in (
            (assembled, "/srv/app"),
            (RECORDINGS, "/srv/recordings"),
            (HERE / "replayer", "/srv/replayer"),
        ):
            subprocess.run(fleet("push", HOST, str(source), place), check=True)
        program = [
            "env",
            "PYTHONPATH=/srv",
            "python3",
            "-m",
            "replayer",
            "/srv/app",
            "/srv/recordings",
            "/srv/work",
            *names,
        ]
        yield replay(fleet("exec", HOST, "--", *program))
    finally:
        subprocess.run(fleet("down"), check=True)
