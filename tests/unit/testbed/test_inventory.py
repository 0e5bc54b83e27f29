# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import yaml
from hypothesis import given
from hypothesis import strategies as st
from testbed import inventory

KEYS = pathlib.Path("/state/keys")


def test_hosts_and_how_to_reach_them() -> None:
    assert yaml.safe_load(inventory.render({"b": "198.18.1.3", "a.example": "198.18.1.2"}, KEYS)) == {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": "/state/keys/id",
                "ansible_ssh_common_args": "-o UserKnownHostsFile=/state/keys/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
                "ansible_python_interpreter": "/usr/bin/python3",
            },
            "hosts": {"a.example": {"ansible_host": "198.18.1.2"}, "b": {"ansible_host": "198.18.1.3"}},
        }
    }


def test_a_fleet_without_hosts_is_an_inventory_too() -> None:
    assert yaml.safe_load(inventory.render({}, KEYS))["all"]["hosts"] == {}


@given(st.dictionaries(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), st.just("198.18.1.2")))
def test_any_host_name_stays_a_string(hosts: dict[str, str]) -> None:
    # 'no', '1e3' and '017' are host names, and something else in plain YAML.
    assert set(yaml.safe_load(inventory.render(hosts, KEYS))["all"]["hosts"]) == set(hosts)
