#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_prove
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Load the dumps of a backup into a scratch PostgreSQL and count what is there
description:
  - Makes a PostgreSQL of its own on the node with the programs that GitLab brings, loads each dump of a verified backup into it, counts the
    rows of every table and compares them with those of the backup's manifest.
  - The scratch PostgreSQL has a folder and a socket of its own and listens on no port. It is removed in any case. The instance's own
    PostgreSQL is only read.
  - When the rows differ, or PostgreSQL complains about the dump, the backup is not accepted any more.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.long_work
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  check_mode:
    support: full
    details:
      - In check mode the preconditions are looked at, and nothing is loaded.
  diff_mode:
    support: none
    details:
      - Only the manifest is written, and its proof is returned.
  idempotent:
    support: full
    details:
      - A backup that was proven, and whose checksum is still the same, is not loaded again.
options:
  id:
    description: The id of the backup. It must have been verified by M(gitlab_fleet.upgrade.backup_verify).
    type: str
    required: true
  scratch_path:
    description:
      - A folder that is there, with room for about twice the size of the tables. The scratch PostgreSQL gets a folder of its own in it,
        C(gitlab_fleet_upgrade_scratch), and only that one is removed.
      - One of that name that no proof has made is not touched, and the module refuses to go on.
    type: path
    default: /var/opt/gitlab
  programs:
    description:
      - The folder with PostgreSQL's C(initdb), C(pg_ctl) and C(psql), of the server's major version.
      - By default GitLab's own.
    type: path
  postgresql_user:
    description: The user of the host that runs the scratch PostgreSQL.
    type: str
    default: gitlab-psql
  node:
    description: What this node is called in the manifest. By default the host's name.
    type: str
seealso:
  - module: gitlab_fleet.upgrade.backup_verify
"""

EXAMPLES = r"""
---
- name: Prove a verified backup by loading it
  gitlab_fleet.upgrade.backup_prove:
    id: before-16.11
"""

RETURN = r"""
id:
  description: The id of the backup.
  type: str
  returned: when the loading was over, also when the rows differ
  sample: before-16.11
proof:
  description: What was loaded and counted; null in check mode and when it is not as it should be.
  type: dict
  returned: when the loading was over, also when the rows differ
  sample: {at: "2023-11-21T03:12:00Z", where: acme-1, databases: {main: {tables: 812, rows: 4711, schema_migrations: 1020}}}
manifest:
  description: The manifest, in the form of M(gitlab_fleet.upgrade.backup_verify).
  type: dict
  returned: when the loading was over, also when the rows differ
  sample: {id: before-16.11, verified: true}
seconds:
  description: How long it took.
  type: float
  returned: when the loading was over, also when the rows differ
  sample: 61.7
log:
  description: The file on the host that has the output; null when nothing was run.
  type: str
  returned: when the loading was over, also when the rows differ
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/backup_prove.20261120T072244.1795159793727774464/log
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the loading was over, also when the rows differ
  sample: []
commands:
  description: Always empty, since nothing of the instance is changed.
  type: list
  elements: list
  returned: when the loading was over, also when the rows differ
  sample: []
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: backup_prove, job: backup_prove, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import os
import socket
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_prove import ProveJob, Scratch
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

EMBEDDED = "/opt/gitlab/embedded"


def find_programs(major: int) -> str:
    """Return the folder with PostgreSQL's programs of one major version that GitLab brings, or else the host has."""
    folders = [f"{EMBEDDED}/postgresql/{major}/bin", f"{EMBEDDED}/bin", f"/usr/lib/postgresql/{major}/bin"]
    return next((folder for folder in folders if os.path.exists(f"{folder}/initdb")), folders[1])


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                id={"type": "str", "required": True},
                scratch_path={"type": "path", "default": "/var/opt/gitlab"},
                programs={"type": "path"},
                postgresql_user={"type": "str", "default": "gitlab-psql"},
                node={"type": "str"},
            )
        ),
        supports_check_mode=True,
    )
    params = module.params
    memory: dict[str, t.Any] = params["memory"] or {}
    try:
        instance = Instance(module)
        store = Store()
        # Its checksum is read once, not in each step.
        manifest = store.require(params["id"]) if not memory else store.read(params["id"])
        if manifest is None:
            raise GitLabError(
                f"The backup {params['id']} has no manifest any more.", "Verify it again (backup_verify)."
            )
        scratch = Scratch(
            path=params["scratch_path"],
            programs=params["programs"] or find_programs(manifest.postgresql.major),
            user=params["postgresql_user"],
            node=params["node"] or socket.gethostname(),
        )
        jobs = Jobs(instance.runner)
        work = ProveJob(instance, jobs, store, memory, manifest, scratch, module.check_mode)
        waiting = _long_work.run(work, jobs, params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()
