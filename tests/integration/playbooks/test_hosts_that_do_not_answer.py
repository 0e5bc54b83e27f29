# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a playbook says when no host of its fleet answers, or a further node of an instance does not, or no instance is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest


@pytest.fixture
def gone() -> t.Iterator[dict[str, t.Any]]:
    """The variables of a host that does not answer."""
    with socket.socket() as listener:
        # Bound and never listening: nobody else gets this port, and nobody answers on it.
        listener.bind(("127.0.0.1", 0))
        yield {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": listener.getsockname()[1]}


class Play(t.Protocol):
    def __call__(
        self, playbook: str, *options: str, **groups: t.Mapping[str, t.Any]
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook on the hosts of some groups."""


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(playbook: str, *options: str, **groups: t.Mapping[str, t.Any]) -> subprocess.CompletedProcess[str]:
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({group: {"hosts": hosts} for group, hosts in groups.items()}))
        return subprocess.run(
            ["ansible-playbook", "-i", str(inventory), f"gitlab_fleet.upgrade.{playbook}", *options],
            env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def row_of(host: str, stdout: str) -> str:
    """Return a host's line in the table."""
    (row,) = (line for line in stdout.splitlines() if line.strip().startswith(f'"{host} '))
    return row


@pytest.mark.parametrize("playbook", ["status", "roll_forward", "finish_migrations"])
def test_the_table_is_there_and_calls_nobody_safe(playbook: str, play: Play, gone: dict[str, t.Any]) -> None:
    done = play(playbook, gitlab={"gone-1": gone, "gone-2": gone})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "2 instances: 0 safe to upgrade, 0 not, 2 unknown" in done.stdout
    for host in ("gone-1", "gone-2"):
        assert "unknown" in row_of(host, done.stdout)
        assert f"Nothing is proven for: {host}" in done.stdout + done.stderr


def test_the_table_of_the_backups_is_there_too(play: Play, gone: dict[str, t.Any]) -> None:
    done = play("backup", gitlab={"gone-1": gone})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The host cannot be reached" in row_of("gone-1", done.stdout)


def test_an_instance_is_not_rolled_back_without_its_second_node(play: Play, gone: dict[str, t.Any]) -> None:
    # It answers, as far as it is asked before its nodes are.
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    named = {"rollback_restore_backup": "before", "rollback_restore_accept_loss_since_backup": True}
    done = play(
        *("rollback", "--limit", "acme-1", "-e", json.dumps(named)),
        gitlab={"acme-1": {**here, "gitlab_instance": "acme"}},
        sidekiq={"acme-2": {**gone, "gitlab_instance": "acme"}},
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No answer from acme-2" in row_of("acme-1", done.stdout)
    assert "Nothing was changed. Bring it back and run this again. If it is gone for good, " in done.stdout


@pytest.mark.parametrize("playbook", ["status", "rollback", "backup"])
def test_a_limit_that_names_no_instance_is_no_success(playbook: str, play: Play, gone: dict[str, t.Any]) -> None:
    done = play(playbook, "--limit", "acme-2", gitlab={"acme-1": gone}, sidekiq={"acme-2": gone})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No instance is named by --limit acme-2" in done.stdout
    assert "gitlab (acme-1)" in done.stdout


def test_an_inventory_without_an_instance_is_no_success(play: Play) -> None:
    done = play("status")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No host of the inventory matches gitlab." in done.stdout
