# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a playbook says when no host of its fleet answers."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize("playbook", ["status", "roll_forward", "finish_migrations"])
def test_the_table_is_there_and_calls_nobody_safe(playbook: str, tmp_path: Path) -> None:
    with socket.socket() as listener:
        # Bound and never listening: nobody else gets this port, and nobody answers on it.
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        hosts = "".join(f"    gone-{n}: {{ansible_host: 127.0.0.1, ansible_port: {port}}}\n" for n in (1, 2))
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(f"gitlab:\n  hosts:\n{hosts}")
        done = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), f"gitlab_fleet.upgrade.{playbook}"],
            env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "2 instances: 0 safe to upgrade, 0 not, 2 unknown" in done.stdout
    for host in ("gone-1", "gone-2"):
        (row,) = (line for line in done.stdout.splitlines() if line.strip().startswith(f'"{host} '))
        assert "unknown" in row
        assert f"Nothing is proven for: {host}" in done.stdout + done.stderr
