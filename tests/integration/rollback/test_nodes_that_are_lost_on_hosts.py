# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second node that is lost in the middle: its instance says so, stays in the table, and the other node is as safe as it can be."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from pathlib import Path

import pytest
from failed_upgrade import Rollback, assert_as_before, back_up, fail_to_upgrade, image, with_packages
from instances import Instances

HOST, NODE = "lossy", "lossy-sidekiq"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with with_packages("lost", dict.fromkeys([HOST, NODE], image("scenario", "before-failing-upgrade"))) as fleet:
        back_up(fleet, HOST)
        fail_to_upgrade(fleet, HOST)
        # What a run that stops must bring back.
        fleet.sh(HOST, "gitlab-ctl start puma; gitlab-ctl start sidekiq")
        yield fleet


@pytest.fixture
def both(tmp_path: Path) -> list[str]:
    """The options by which a playbook sees one instance of two nodes."""
    together = {"gitlab_instance": "lossy"}
    inventory = tmp_path / "instance.json"
    inventory.write_text(json.dumps({"gitlab": {"hosts": {HOST: together}}, "sidekiq": {"hosts": {NODE: together}}}))
    return ["-i", str(inventory)]


@contextlib.contextmanager
def lost_at(fleet: Instances, command: str) -> t.Iterator[None]:
    """Let the second node be gone from the moment on when ``gitlab-ctl command`` is run there; it is back at the end of the block."""
    ctl = "/opt/gitlab/bin/gitlab-ctl"
    lose = f'[ "$1" != {command} ] || {{ mv /usr/sbin/sshd /root/sshd; pkill -KILL sshd; exit 1; }}'
    wrapper = f'#!/bin/bash\n{lose}\nexec {ctl}.real "$@"\n'
    fleet.sh(NODE, f"mv {ctl} {ctl}.real; cat > {ctl} <<'END'\n{wrapper}END\nchmod 755 {ctl}")
    try:
        yield
    finally:
        fleet.sh(
            NODE,
            f"mv {ctl}.real {ctl}; mv /root/sshd /usr/sbin/sshd; for n in $(seq 50); do pgrep -x sshd && exit 0; sleep 0.2; done; exit 1",
        )


def states(fleet: Instances) -> list[str]:
    """How the services of the deploy node are, and what keeps them down when it boots."""
    status = fleet.sh(HOST, "gitlab-ctl status || true")
    return [
        *re.findall(r"^(?:run|down): [\w-]+", status, re.MULTILINE),
        fleet.sh(HOST, "ls /opt/gitlab/sv/*/down || true"),
    ]


def assert_named(stdout: str) -> None:
    """The instance is in the table, with the node and with what to do."""
    assert re.search(rf'^ +"{HOST} .*No answer from {NODE} ', stdout, re.MULTILINE), stdout
    assert "take it out of the inventory" in stdout


def test_rolling_forward_puts_the_services_of_the_other_node_back(fleet: Instances, both: list[str]) -> None:
    before = states(fleet)
    assert {"run: puma", "run: sidekiq"} < set(before)
    with lost_at(fleet, "stop"):
        done = fleet.play("gitlab_fleet.upgrade.roll_forward", *both, "-e", f"gitlab_upgrade_hosts={HOST}")
    assert done.returncode == 2, done.stdout
    assert_named(done.stdout)
    assert "Stop the services that write" in done.stdout
    assert states(fleet) == before


def test_rolling_back_puts_them_back_while_nothing_is_changed(fleet: Instances, both: list[str]) -> None:
    before = states(fleet)
    with lost_at(fleet, "stop"):
        done = Rollback(fleet, HOST).run(*both)
    assert done.returncode == 2, done.stdout
    assert_named(done.stdout)
    assert states(fleet) == before
    assert "stay down on" not in done.stdout


def test_half_a_rollback_does_not_serve_and_goes_on_when_the_node_is_back(fleet: Instances, both: list[str]) -> None:
    with lost_at(fleet, "reconfigure"):
        done = Rollback(fleet, HOST).run(*both)
    assert done.returncode == 2, done.stdout
    assert_named(done.stdout)
    assert f"stay down on {HOST}, {NODE}, also when a node boots" in done.stdout
    assert {"down: puma", "down: sidekiq"} < set(states(fleet))

    done = Rollback(fleet, HOST).run(*both)
    assert done.returncode == 0, done.stdout
    assert_as_before(fleet, HOST)
    assert {"run: puma", "run: sidekiq"} < set(states(fleet))
