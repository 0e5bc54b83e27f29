# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

TESTS = HERE.parent
MINI_GITLAB = TESTS / "mini_gitlab"
RECORDINGS = TESTS / "data" / "recordings"
VERSION = "18.2.8"
# Two runs at a time must not take the host from each other.
FLEET = f"conformance-{os.getpid()}"
HOST = "replay"
# Set to anything: replay on this machine, which then needs the packages of the hosts.
HERE_INSTEAD = "MINI_GITLAB_CONFORMANCE_HERE"

Outcomes = dict[str, dict[str, t.Any]]


def fleet(*arguments: str) -> list[str]:
    return [sys.executable, str(MINI_GITLAB / "fleet.py"), "--fleet", FLEET, *arguments]


def replay(prefix: list[str], folders: dict[str, Path], names: list[str]) -> Outcomes:
    """Plays recordings with the program that lies beside `folders["library"]/replayer`."""
    places = [str(folders[name]) for name in ("app", "recordings", "work")]
    command = [*prefix, "env", f"PYTHONPATH={folders['library']}", "python3", "-m", "replayer", *places, *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return t.cast(Outcomes, json.loads(done.stdout))


def replay_in_a_host(assembled: Path, names: list[str]) -> Outcomes:
    """Plays recordings in a new test host, which is removed again."""
    subprocess.run(fleet("base"), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(fleet("up", HOST), check=True)
    try:
        inside = {name: Path("/srv") / name for name in ("app", "recordings", "library", "work")}
        pushed = {"app": assembled, "recordings": RECORDINGS, "library/replayer": HERE / "replayer"}
        for place, source in pushed.items():
            subprocess.run(fleet("push", HOST, str(source), f"/srv/{place}"), check=True)
        return replay(fleet("exec", HOST, "--"), inside, names)
    finally:
        subprocess.run(fleet("down"), check=True)


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of the recordings whose tests were chosen, all played in one go: name to outcome."""
    chosen = [item for item in request.session.items if "outcomes" in getattr(item, "fixturenames", ())]
    names = [str(item.callspec.params["name"]) for item in chosen if isinstance(item, pytest.Function)]
    assembled = tmp_path_factory.mktemp("conformance") / "app"
    subprocess.run([str(MINI_GITLAB / "app/bin/assemble"), VERSION, str(assembled)], check=True)
    if HERE_INSTEAD not in os.environ:
        return replay_in_a_host(assembled, names)
    # Not under pytest's folder: the server's account cannot enter that.
    with tempfile.TemporaryDirectory(prefix="conformance-") as work:
        Path(work).chmod(0o755)
        return replay([], {"app": assembled, "recordings": RECORDINGS, "library": HERE, "work": Path(work)}, names)
