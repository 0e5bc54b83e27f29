# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""roll_forward where the schema migrations themselves queue batched background migrations, as those of most releases do."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from instances import Instances

HOST = "queues-more"
# A schema migration of 17.11 that queues one.
QUEUES = "20250312081920"
ROWS = "INSERT INTO deployments (project_id, deployable_id) SELECT 1, 1 FROM generate_series(1, 3000)"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("rollforward") as fleet:
        fleet.up({HOST: "gitlab-17.11.7"})
        # So that what is queued stays active.
        fleet.sh(HOST, "gitlab-ctl stop sidekiq")
        yield fleet


def roll_forward(fleet: Instances) -> subprocess.CompletedProcess[str]:
    done = fleet.play("gitlab_fleet.upgrade.roll_forward", "-e", f"gitlab_upgrade_hosts={HOST}")
    assert done.returncode == 0, done.stdout
    return done


def services(fleet: Instances) -> list[str]:
    """The process of each service: another one would have been stopped in between."""
    return sorted(
        line.partition(";")[0].partition(")")[0] for line in fleet.sh(HOST, "gitlab-ctl status || true").splitlines()
    )


def test_what_the_migrations_queue_is_left_to_sidekiq_and_stops_nobody_again(fleet: Instances) -> None:
    fleet.sql(HOST, f"{ROWS}; DELETE FROM schema_migrations WHERE version = '{QUEUES}'")
    done = roll_forward(fleet)
    queued = fleet.sql(HOST, "SELECT 'main_' || id FROM batched_background_migrations WHERE status = 1").splitlines()
    assert queued
    assert (
        f"The migrations have queued batched background migrations, which Sidekiq works on: {', '.join(queued)}."
        in done.stdout
    )
    assert "Not safe to upgrade again yet" in done.stdout
    assert "Rolled forward: 1 schema migrations" in done.stdout

    # Nothing stands half-way now, so that nobody loses the service for it.
    before = services(fleet)
    again = roll_forward(fleet)
    assert f"Nothing to do: {len(queued)} batched background migrations are active" in again.stdout
    assert services(fleet) == before
    assert "changed=0" in again.stdout


def test_settings_that_a_killed_run_left_changed_are_put_back(fleet: Instances) -> None:
    off: dict[str, t.Any] = {"execute_batched_migrations_on_schedule": False}
    changed = fleet.run(HOST, "bbm_settings", remember=True, **off)
    assert changed["changed"], changed
    roll_forward(fleet)
    found = fleet.run(HOST, "bbm_settings", check=True, **off)
    assert found["former"] == changed["former"]
    assert fleet.sh(HOST, "find /var/lib/gitlab_fleet_upgrade -maxdepth 1 -name '*.json'") == ""
