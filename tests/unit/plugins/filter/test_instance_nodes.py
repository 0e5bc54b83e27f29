# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.filter.instance_nodes import instance_nodes

HOSTVARS = {
    "acme-rails-1": {"gitlab_instance": "acme"},
    "acme-rails-2": {"gitlab_instance": "acme"},
    "acme-sidekiq": {"gitlab_instance": "acme"},
    "other-sidekiq": {"gitlab_instance": "other"},
    "single": {},
}
GROUPS = {
    "gitlab": ["acme-rails-1", "single"],
    "gitlab_rails": ["acme-rails-1", "acme-rails-2"],
    "sidekiq": ["other-sidekiq", "acme-sidekiq"],
}


@pytest.mark.parametrize(
    ("host", "nodes"),
    [
        ("acme-rails-1", ["acme-rails-1", "acme-rails-2", "acme-sidekiq"]),
        ("single", ["single"]),
    ],
)
def test_nodes_share_the_instance(host: str, nodes: list[str]) -> None:
    assert instance_nodes(host, GROUPS, HOSTVARS, ["gitlab_rails", "sidekiq", "no_such_group"]) == nodes


def test_unknown_host_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="not a host of the inventory"):
        instance_nodes("nobody", GROUPS, HOSTVARS, ["sidekiq"])
