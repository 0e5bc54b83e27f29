#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_revert
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Bring the packaged PostgreSQL back to the major that it had before gitlab-ctl pg-upgrade
description:
  - Runs C(gitlab-ctl revert-pg-upgrade) as a job that outlives the connection, which would leave PostgreSQL without data if it ended half-way.
  - GitLab's command ends with 0 also where PostgreSQL does not come up again, and where the old data are not there and it has changed the programs
    alone. So this module asks first whether the data of that major were kept and its programs are there, and changes nothing where they are not.
    Afterwards it asks the server for its version; only the major that was asked for is a success.
  - It is for a single packaged PostgreSQL, on the node that it runs on, and not for Patroni and Geo.
  - GitLab's command starts all services but Puma and NGINX at its end, Sidekiq among them, also where they were stopped before. Stop them again with
    M(gitlab_fleet.upgrade.gitlab_services) where that matters.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.long_work
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
  - gitlab_fleet.upgrade._attributes.destructive
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  destructive:
    support: full
    details:
      - The data of the newer PostgreSQL are removed, with all that was written since it was upgraded.
options:
  major:
    description: The major to go back to, such as V(16).
    type: int
    required: true
  accept_loss_since_upgrade:
    description:
      - Accept that everything is lost that was written since PostgreSQL was upgraded.
      - Without it the module fails where there is something to do, except in check mode.
    type: bool
    default: false
requirements:
  - The Linux package (O(install_type=omnibus)).
seealso:
  - module: gitlab_fleet.upgrade.rollback_check
  - name: GitLab documentation on PostgreSQL of the Linux package
    description: Upgrading the packaged PostgreSQL, and going back.
    link: https://docs.gitlab.com/omnibus/settings/database/#upgrade-packaged-postgresql-server
"""

EXAMPLES = r"""
---
- name: Go back to PostgreSQL 16
  gitlab_fleet.upgrade.postgresql_revert:
    major: 16
    accept_loss_since_upgrade: true
"""

RETURN = r"""
major_before:
  description: The major of the server that was found.
  type: int
  returned: when the command was over or not needed, also when it failed
  sample: 17
seconds:
  description: How long the command ran.
  type: float
  returned: when the command was over or not needed, also when it failed
  sample: 9.3
log:
  description: The file on the host that has the command's whole output; null when it was not run. Its errors are in C(errors) beside it.
  type: str
  returned: when the command was over or not needed, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/postgresql_revert.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of that output.
  type: str
  returned: when the command was over or not needed, also when it failed
  sample: "== Reverting ==\nok: down: postgresql: 0s, normally up\nok: run: postgresql: (pid 624) 1s\n== Reverted ==\n"
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the command was over or not needed, also when it failed
  sample: []
commands:
  description: The command as it was run, or would be run in check mode; empty when it is not needed.
  type: list
  elements: list
  returned: when the command was over or not needed, also when it failed
  sample: [[/opt/gitlab/bin/gitlab-ctl, revert-pg-upgrade, -w, -V, "16"]]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: postgresql_revert, job: postgresql_revert, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._postgresql_revert import RevertJob, Wish


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                major={"type": "int", "required": True},
                accept_loss_since_upgrade={"type": "bool", "default": False},
            )
        ),
        supports_check_mode=True,
    )
    params = module.params
    memory: dict[str, t.Any] = params["memory"] or {}
    try:
        instance = Instance(module)
        jobs = Jobs(instance.runner)
        wish = Wish(params["major"], params["accept_loss_since_upgrade"])
        # A connection of its own each time: the server changes in between.
        work = RevertJob(
            instance.installation, lambda: Instance(module).sessions()[0], jobs, memory, wish, module.check_mode
        )
        waiting = _long_work.run(work, jobs, params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()
