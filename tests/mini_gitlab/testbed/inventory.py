# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible inventory of a fleet."""

from __future__ import annotations

import json
import pathlib
import typing as t


def render(hosts: t.Mapping[str, str], keys: pathlib.Path) -> str:
    """YAML text for hosts given as name to address; ``keys`` is the directory of the fleet's SSH keys."""
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(keys / "id"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={keys / 'known_hosts'} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    lines = ["---", "all:", "  vars:"]
    # A JSON string is a YAML string, whatever is in it.
    lines += [f"    {name}: {json.dumps(value)}" for name, value in variables.items()]
    lines.append("  hosts:" if hosts else "  hosts: {}")
    for name in sorted(hosts):
        lines += [f"    {json.dumps(name)}:", f"      ansible_host: {json.dumps(hosts[name])}"]
    return "\n".join(lines) + "\n"
