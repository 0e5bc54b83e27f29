#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_package
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Install a version of GitLab's package, also an older one, or finish one whose hook stopped half-way
description:
  - With O(state=present) the package manager puts another version into the place of the installed one, and is asked afterwards which one is there.
    A hold on the package is put back. Nothing else may be removed for it.
  - With O(state=configured) the rest of this description holds.
  - When the hook of GitLab's package fails (C(gitlab-ctl upgrade), which reconfigures and migrates), dpkg leaves the package
    half-configured. Each later run of apt, for whatever package, starts the hook again.
  - This module finds out which of GitLab's packages is installed and in which state, runs C(dpkg --configure) where the package is not
    configured, and asks dpkg afterwards whether it is.
  - The hook stops GitLab's services except those that migrations need, and starts only those again that ran before it.
    It does not reconfigure where C(/etc/gitlab/skip-auto-reconfigure) exists.
  - It runs without a terminal, and without E(EXTERNAL_URL), which the hook would write into C(gitlab.rb).
  - With rpm a package whose hook failed is installed all the same; there is nothing to finish, and RV(notes) says so.
  - The options that say how the database is asked are of no account here.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.long_work
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(configured) lets dpkg finish what it left half-way. It installs nothing.
      - V(present) installs O(version) in the place of the version that is installed.
    type: str
    choices: [configured, present]
    required: true
  version:
    description: The version of the package, as its manager writes it, such as V(14.0.12-ee.0). Needed for O(state=present).
    type: str
  file:
    description:
      - The package's file on the host, for O(state=present), where the package sources do not have the version any more.
      - It must be exactly O(version) of the package that is installed.
    type: path
  allow_downgrade:
    description:
      - Whether O(version) may be of an older GitLab than the installed one.
      - This changes the package and not the database, with which the older GitLab then does not work. The role
        P(gitlab_fleet.upgrade.rollback_restore#role) does both.
    type: bool
    default: false
  skip_hooks:
    description:
      - Whether to keep the package's hooks from backing up, reconfiguring and migrating, for O(state=present).
      - It places C(/etc/gitlab/skip-auto-backup) and C(/etc/gitlab/skip-auto-reconfigure) for the time of the installation, and removes them again,
        also after a failure, and also where an interrupted run left them. Ones that were there already stay as they are.
      - The check of the configuration before the installation cannot be kept still. Up to 19.2 it refuses to install over the C(nodes/*.json) that an aborted
        reconfigure has left, so such a file gets C(.broken) added to its name. The next reconfigure writes it anew.
    type: bool
    default: false
requirements:
  - The Linux package (O(install_type=omnibus)).
seealso:
  - module: gitlab_fleet.upgrade.db_migrate
  - module: gitlab_fleet.upgrade.gitlab_reconfigure
"""

EXAMPLES = r"""
---
- name: Finish the package, whose hook stopped at a migration that is mended now
  gitlab_fleet.upgrade.gitlab_package:
    state: configured

- name: Put the older package back, without letting it touch the newer database
  gitlab_fleet.upgrade.gitlab_package:
    state: present
    version: 14.0.12-ee.0
    allow_downgrade: true
    skip_hooks: true
"""

RETURN = r"""
package:
  description: The name of the package.
  type: str
  returned: when the package was found
  sample: gitlab-ee
package_version:
  description: The version of the package, as its manager writes it.
  type: str
  returned: when the command was over, also when it failed
  sample: 14.2.7-ee.0
version_before:
  description: The version that was installed before.
  type: str
  returned: with O(state=present), when the command was over, also when it failed
  sample: 14.2.7-ee.0
before:
  description: The state of the package before, in dpkg's words.
  type: str
  returned: when the package was found
  sample: half-configured
after:
  description: The state of the package afterwards; in check mode, what it would be.
  type: str
  returned: when the command was over, also when it failed
  sample: installed
seconds:
  description: How long the command ran.
  type: float
  returned: when the command was over, also when it failed
  sample: 31.8
log:
  description: The file on the host that has the command's whole output; null when it was not run. Its errors are in C(errors) beside it.
  type: str
  returned: when the command was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/gitlab_package.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of that output.
  type: str
  returned: when the command was over, also when it failed
  sample: "gitlab Reconfigured!\nRestarting previously running GitLab services\nok: run: puma: (pid 4242) 0s\n"
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the command was over, also when it failed
  sample: []
diagnosis:
  description: Why the hook failed, for programs.
  type: dict
  returned: failure of the hook
  sample: {cause: bbm_unfinished, migration_version: "20210622041846"}
commands:
  description: The command as it was run, or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: when the command was over, also when it failed
  sample: [[env, --unset=EXTERNAL_URL, DEBIAN_FRONTEND=noninteractive, dpkg, --configure, gitlab-ee]]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: gitlab_package, job: gitlab_package, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import functools
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import PackageJob, find_package
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package_install import Host, InstallJob, Wish
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import ModuleRunner


def states(result: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return what the package was and is, in words for the difference."""
    if "version_before" not in result:
        return {"before": result["before"], "after": result["after"]}
    return {
        "before": f"{result['version_before']} {result['before']}",
        "after": f"{result['package_version']} {result['after']}",
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                state={"type": "str", "choices": ["configured", "present"], "required": True},
                version={"type": "str"},
                file={"type": "path"},
                allow_downgrade={"type": "bool", "default": False},
                skip_hooks={"type": "bool", "default": False},
            )
        ),
        required_if=[("state", "present", ["version"])],
        supports_check_mode=True,
    )
    memory: dict[str, t.Any] = module.params["memory"] or {}
    runner = ModuleRunner(module)
    find = functools.partial(find_package, runner, module.get_bin_path("dpkg-query"), module.get_bin_path("rpm"))
    try:
        jobs = Jobs(runner)
        installation = Installation.create(module.params["install_type"], module.params["rails_root"])
        work: PackageJob | InstallJob
        if module.params["state"] == "present":
            wish = Wish(*(module.params[name] for name in Wish._fields))
            work = InstallJob(installation, find, Host(runner), jobs, memory, wish, module.check_mode)
        else:
            work = PackageJob(installation, find, jobs, memory, module.check_mode)
        waiting = _long_work.run(work, jobs, module.params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    result = work.result
    if module._diff:
        result["diff"] = {moment: {result["package"]: words} for moment, words in states(result).items()}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
