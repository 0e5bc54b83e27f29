# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long work outlives what happens on its way: the work runs once, and the next run ends right."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finalizing import Host, kill_controller, playbook
from instances import Instances

ROWS = 20000
# Eight sub-batches.
SECONDS = [1.5]


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("interrupt") as instances:
        instances.up({"acme-1": "gitlab-14.2.7"})
        instances.sh("acme-1", f"gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[{ROWS}]'")
        yield instances


@pytest.fixture
def host(fleet: Instances) -> t.Iterator[Host]:
    host = Host(fleet, "acme-1")
    host.clear()
    yield host
    host.sh("pkill -f '[r]ake gitlab:background' || true")


def working(host: Host) -> bool:
    return bool(host.jobs())


def ran_once(host: Host, migration: int) -> None:
    assert host.statuses() == [3]
    assert [job["attempts"] for job in host.jobs()] == [1, 1, 1, 1]
    assert [job["status"] for job in host.jobs()] == [3, 3, 3, 3]
    assert len(host.archived(f"finalize-main_{migration}")) == 1


def test_a_lost_connection_is_survived(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        host.wait_until(lambda: working(host))
        # For some seconds nothing answers; a connection that is only cut is made again without a word.
        host.sh("mv /usr/sbin/sshd /root/sshd; pkill -KILL sshd; sleep 6; mv /root/sshd /usr/sbin/sshd")
        host.wait_until(lambda: process.poll() is not None, 180)
        text = output.read_text()
    assert process.returncode == 0, text
    assert "connection lost, the work goes on" in text
    assert "connected again" in text
    assert f"SlowJob on taggings (main_{migration})" in text
    ran_once(host, migration)


def test_a_pulled_cable_is_survived(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", [3])
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        # Before the first line the module has not yet answered: then the host is unreachable and the task ends.
        host.wait_until(lambda: "SlowJob on" in output.read_text())
        host.fleet._call("fleet.py", "cut", host.name)
        try:
            host.wait_until(lambda: "connection lost, the work goes on" in output.read_text(), 300)
        except AssertionError as error:
            raise AssertionError(output.read_text()) from error
        finally:
            host.fleet._call("fleet.py", "mend", host.name)
        host.wait_until(lambda: process.poll() is not None, 180)
        text = output.read_text()
    assert process.returncode == 0, text
    assert "connected again" in text
    ran_once(host, migration)


def test_a_host_that_stays_away_is_a_failure_and_the_next_run_ends_right(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}", max_connection_failures=1) as (process, output):
        host.wait_until(lambda: working(host))
        host.sh("mv /usr/sbin/sshd /root/sshd; pkill -KILL sshd")
        try:
            host.wait_until(lambda: process.poll() is not None)
        finally:
            host.sh("mv /root/sshd /usr/sbin/sshd")
        text = output.read_text()
    assert process.returncode == 2, text
    assert "could not be reached 2 times in a row" in text
    # An unreachable host would have neither rescue nor always.
    assert re.search(r"unreachable=0 +failed=1 ", text), text
    host.fleet.await_ready(host.name)
    result = host.run(migration=f"main_{migration}", poll_interval=1)
    assert not result["failed"], result
    ran_once(host, migration)


def test_a_killed_controller_loses_nothing(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, _output):
        host.wait_until(lambda: working(host))
        kill_controller(process, tmp_path)
    host.sh("pkill -KILL -f 'sshd: roo[t]' || true")
    assert "finalize" in host.commands()
    result = host.run(migration=f"main_{migration}", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"]
    assert result["migrations"][0]["before"]["state"] == "active"
    ran_once(host, migration)


def test_what_ended_while_the_controller_was_away_is_found_done(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, _output):
        host.wait_until(lambda: working(host))
        kill_controller(process, tmp_path)
    host.wait_until(lambda: host.statuses() == [3])
    host.wait_until(lambda: not host.commands())
    result = host.run(migration=f"main_{migration}")
    assert not result["failed"], result
    assert result["changed"]
    assert result["migrations"][0]["log_tail"] == "Done.\n"
    ran_once(host, migration)
    again = host.run(migration=f"main_{migration}")
    assert not again["changed"]


def test_two_runs_at_once_are_one_piece_of_work(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        result = host.run(migration=f"main_{migration}", poll_interval=1)
        host.wait_until(lambda: process.poll() is not None, 120)
        text = output.read_text()
    assert not result["failed"], result
    assert process.returncode == 0, text
    ran_once(host, migration)


@pytest.mark.parametrize("name", ["TERM", "HUP", "KILL"])
def test_a_killed_finalize_is_a_failure_and_the_next_run_ends_right(host: Host, tmp_path: Path, name: str) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        host.wait_until(lambda: working(host))
        host.sh(f"pkill -{name} -f '/rak[e] gitlab:background'")
        host.wait_until(lambda: process.poll() is not None, 120)
        text = output.read_text()
    assert process.returncode == 2, text
    assert "is finalizing, not finished" in text
    result = host.run(migration=f"main_{migration}", poll_interval=1)
    assert not result["failed"], result
    # Only SIGKILL leaves no time to give the batch back.
    assert len(result["migrations"][0]["freed_jobs"]) == (1 if name == "KILL" else 0)
    assert host.statuses() == [3]


def test_a_database_that_restarts_is_a_clear_failure_and_the_next_run_ends_right(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        host.wait_until(lambda: working(host))
        host.sh(
            "gitlab-ctl restart postgresql; for n in $(seq 30); do gitlab-psql -c 'SELECT 1' && break; sleep 1; done"
        )
        host.wait_until(lambda: process.poll() is not None, 120)
        text = output.read_text()
    assert process.returncode == 2, text
    assert "Traceback" not in text
    result = host.run(migration=f"main_{migration}", poll_interval=1)
    assert not result["failed"], result
    assert len(result["migrations"][0]["freed_jobs"]) == 1
    assert host.statuses() == [3]


def test_a_host_that_lost_power_goes_on_after_its_return(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", SECONDS)
    with playbook(host, tmp_path, migration=f"main_{migration}") as (process, output):
        host.wait_until(lambda: working(host))
        host.fleet._call("fleet.py", "kill", host.name)
        host.fleet._call("fleet.py", "start", host.name)
        host.wait_until(lambda: process.poll() is not None, 180)
        text = output.read_text()
    assert process.returncode == 2, text
    host.fleet.await_ready(host.name)
    host.sh("gitlab-ctl stop sidekiq")
    result = host.run(migration=f"main_{migration}", poll_interval=1)
    assert not result["failed"], result
    assert host.statuses() == [3]


def test_a_job_orphaned_while_finalize_runs_is_found_and_freed(host: Host, tmp_path: Path) -> None:
    migration = host.add("SlowJob", "taggings", "id", [0.5])
    with playbook(host, tmp_path, migration=f"main_{migration}", orphan_grace=3) as (process, output):
        host.wait_until(lambda: working(host))
        # Of a worker that was killed now, with a batch that was begun long ago.
        orphan = host.add_job(migration, max_value=2500, updated_at="now() - interval '10 minutes'")
        # GitLab's finalize has nothing else to do soon and waits for it in a loop.
        host.wait_until(lambda: process.poll() is not None, 150)
        text = output.read_text()
    assert process.returncode == 0, text
    assert host.statuses() == [3]
    (freed,) = [job for job in host.jobs() if job["id"] == orphan]
    assert (freed["status"], freed["attempts"]) == (3, 2)
