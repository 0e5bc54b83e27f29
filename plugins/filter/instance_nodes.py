# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_nodes
author: The gitlab_fleet.upgrade authors
version_added: 0.1.0
short_description: List the nodes of one GitLab instance
description:
  - Finds the hosts of the given inventory groups that belong to the same GitLab instance as a host, that host first.
  - Nodes of one instance share the host variable C(gitlab_instance). A host without it is an instance of its own.
positional: _input, groups, hostvars, names
options:
  _input:
    description: The inventory name of the instance's deploy node.
    type: str
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  names:
    description: The inventory groups that hold the nodes. Groups that do not exist are empty.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
---
- name: Show which nodes run Puma or Sidekiq for this instance
  ansible.builtin.debug:
    msg: "{{ inventory_hostname | gitlab_fleet.upgrade.instance_nodes(groups, hostvars, ['gitlab_rails', 'sidekiq']) }}"
"""

RETURN = r"""
_value:
  description: The inventory names of the nodes, the deploy node first, the others in the order of the groups.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError


def instance_nodes(
    host: str,
    groups: t.Mapping[str, t.Sequence[str]],
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    names: t.Iterable[str],
) -> list[str]:
    """Return the nodes of the instance that ``host`` deploys, ``host`` first."""
    if not isinstance(host, str) or host not in hostvars:
        raise AnsibleFilterError(f"gitlab_fleet.upgrade.instance_nodes: {host!r} is not a host of the inventory.")
    instance = hostvars[host].get("gitlab_instance", host)
    nodes = [host]
    for name in names:
        for node in groups.get(name, []):
            if node not in nodes and hostvars[node].get("gitlab_instance", node) == instance:
                nodes.append(node)
    return nodes


class FilterModule:
    """Filters about the shape of an instance."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"instance_nodes": instance_nodes}
