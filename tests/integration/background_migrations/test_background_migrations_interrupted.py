# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clearing background migrations outlives what happens on its way, and no message is lost."""

from __future__ import annotations

import json
import subprocess
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from instances import Instances
from older_queues import FIRST, HOSTS, RECORD, Older, emptied


@pytest.fixture(scope="module")
def fleet() -> Iterator[Instances]:
    with Instances.fleet("older-job") as instances:
        instances.up({FIRST: HOSTS[FIRST]})
        instances.sh(FIRST, "gitlab-ctl stop sidekiq")
        yield instances


@pytest.fixture
def first(fleet: Instances) -> Older:
    return emptied(fleet, FIRST)


@contextmanager
def playbook(host: Older, path: Path, **options: t.Any) -> Iterator[subprocess.Popen[str]]:
    """A run of the module in the background; it is killed at the end if it is still there."""
    book = path / "book.json"
    task = {"name": "Clear", "gitlab_fleet.upgrade.background_migrations": dict(options, poll_interval=1)}
    book.write_text(json.dumps([{"hosts": host.name, "gather_facts": False, "tasks": [task]}]))
    with (path / "output").open("w") as file:
        process = subprocess.Popen(
            ["ansible-playbook", "-i", str(host.fleet._inventory), str(book)],
            env={**host.fleet._environment, "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                subprocess.run(["pkill", "-KILL", "-f", str(book)], check=True)
                process.wait()


def slow(host: Older) -> None:
    """Three jobs of three seconds each, that nothing but their messages knows of."""
    for number in range(3):
        host.message("queued", "UntrackedJob", [number, number, 3])


def test_a_killed_controller_loses_nothing(first: Older, tmp_path: Path) -> None:
    slow(first)
    with playbook(first, tmp_path, state="cleared"):
        first.wait_until(lambda: first.ran("UntrackedJob"))
    # However long two runs take here, the job is still there.
    first.sh("pkill -STOP -f '/rail[s] runner'")
    cases: list[dict[str, t.Any]] = [
        {"state": "cleared", "classes": ["TrackedJob"]},
        {"state": "cleared", "timeout": 1, "poll_interval": 1},
    ]
    other, late = first.fleet.run_each(FIRST, "background_migrations", cases)
    first.sh("pkill -CONT -f '/rail[s] runner'")
    assert other["failed"]
    assert "is running on this host" in other["msg"]
    assert "lambda" not in other["msg"]
    assert late["failed"]
    assert late["timed_out"]
    result = first.run(state="cleared", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"] and result["cleared"]
    assert result["attempted"] == [{"database": "main", "class_name": "UntrackedJob", "jobs": 3}]
    assert sorted(first.ran("UntrackedJob")) == [[0, 0, 3], [1, 1, 3], [2, 2, 3]]
    assert not first.run(state="cleared", poll_interval=1)["changed"]


def test_what_ended_while_nobody_watched_is_found_done(first: Older, tmp_path: Path) -> None:
    first.message("queued", "UntrackedJob", [1, 1, 3])
    with playbook(first, tmp_path, state="cleared"):
        first.wait_until(lambda: not first.messages()["main"])
    first.wait_until(lambda: first.ran("UntrackedJob"))
    first.wait_until(lambda: not first.sh("pgrep -f '[r]ails runner' || true"))
    result = first.run(state="cleared", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"] and result["cleared"]
    assert first.ran("UntrackedJob") == [[1, 1, 3]]


def test_two_runs_at_once_are_one_piece_of_work(first: Older, tmp_path: Path) -> None:
    slow(first)
    with playbook(first, tmp_path, state="cleared") as process:
        first.wait_until(lambda: first.ran("UntrackedJob"))
        result = first.run(state="cleared", poll_interval=1)
        first.wait_until(lambda: process.poll() is not None)
    assert not result["failed"], result
    assert process.returncode == 0, (tmp_path / "output").read_text()
    assert len(first.ran("UntrackedJob")) == 3


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_killed_run_loses_no_message(first: Older, tmp_path: Path, name: str) -> None:
    slow(first)
    with playbook(first, tmp_path, state="cleared") as process:
        first.wait_until(lambda: first.ran("UntrackedJob"))
        first.sh(f"pkill -{name} -f '/rail[s] runner'")
        first.wait_until(lambda: process.poll() is not None)
        text = (tmp_path / "output").read_text()
    assert process.returncode == 2, text
    assert "was cut short. It was in UntrackedJob (main)" in text
    taken = 3 - len(first.ran("UntrackedJob")) - len(first.messages()["main"])
    # Only what Ruby does not hear leaves the message in no set.
    assert taken == (1 if name == "KILL" else 0)
    shown = first.run()
    assert len(shown["interrupted"]) == taken
    assert shown["cleared"] is False
    assert ("taken from Sidekiq by a run that was killed" in " ".join(shown["reasons"])) is bool(taken)

    result = first.run(state="cleared", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"] and result["cleared"]
    assert sorted(first.ran("UntrackedJob")) == [[0, 0, 3], [1, 1, 3], [2, 2, 3]]
    assert result["interrupted"] == []
    assert first.sh(f"test -e {RECORD} && echo there || true") == ""
