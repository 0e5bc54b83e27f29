#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_reconfigure
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Run gitlab-ctl reconfigure
description:
  - Runs C(gitlab-ctl reconfigure) as a job that outlives the connection, and says why it failed when it does.
  - It succeeds only when GitLab says that it is reconfigured.
  - It proves nothing about migrations, since it leaves them out when an earlier run of the same version did them; see
    M(gitlab_fleet.upgrade.db_migrate) and M(gitlab_fleet.upgrade.db_migrate_status).
  - Only the Linux package has the command. The options that say how the database is asked are of no account here.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.long_work
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  check_mode:
    support: partial
    details:
      - Nothing is run in check mode, and a change is predicted; what would change only GitLab's cookbooks know.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Reports a change when GitLab's cookbooks updated a resource, which a few of them do in every run.
seealso:
  - module: gitlab_fleet.upgrade.db_migrate
"""

EXAMPLES = r"""
---
- name: Apply gitlab.rb
  gitlab_fleet.upgrade.gitlab_reconfigure:
"""

RETURN = r"""
updated_resources:
  description: How many resources were updated; null when it is not known, as in check mode.
  type: int
  returned: when the command was over, also when it failed
  sample: 3
seconds:
  description: How long the command ran.
  type: float
  returned: when the command was over, also when it failed
  sample: 22.4
log:
  description: The file on the host that has the command's whole output; null in check mode. Its errors are in C(errors) beside it.
  type: str
  returned: when the command was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/reconfigure.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of that output.
  type: str
  returned: when the command was over, also when it failed
  sample: "Running handlers complete\nChef Infra Client finished, 3/769 resources updated in 22 seconds\ngitlab Reconfigured!\n"
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the command was over, also when it failed
  sample: []
diagnosis:
  description: Why it failed, for programs.
  type: dict
  returned: failure of the command
  sample: {cause: command_timeout}
commands:
  description: The command as it was run, or would be run in check mode.
  type: list
  elements: list
  returned: when the command was over, also when it failed
  sample: [[/opt/gitlab/bin/gitlab-ctl, reconfigure]]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: reconfigure, job: reconfigure, text: ""}
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
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._reconfigure import ReconfigureJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import ModuleRunner


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(**_long_work.argument_spec()), supports_check_mode=True)
    memory: dict[str, t.Any] = module.params["memory"] or {}
    try:
        jobs = Jobs(ModuleRunner(module))
        installation = Installation.create(module.params["install_type"], module.params["rails_root"])
        work = ReconfigureJob(installation, jobs, memory, module.check_mode)
        waiting = _long_work.run(work, jobs, module.params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()
