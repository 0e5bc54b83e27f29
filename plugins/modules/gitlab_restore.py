#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_restore
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Restore a verified backup of GitLab, and prove it by the rows
description:
  - Runs C(gitlab-backup restore). It answers GitLab's questions beforehand, since nobody sits there; what those questions would have been about
    (errors of the schema) is looked for in its output.
  - GitLab's restore goes on after errors and ends with 0. So when it is over, this module counts the rows of every table of the backup
    and compares them with the manifest, and the schema migrations too; and the output must tell of each part of the backup that it was restored to its
    end. Only then it is a success.
  - GitLab deletes snippets whose repositories did not come back, and says so in its output. As many snippets fewer are no failure; RV(notes) has them.
  - It restores only into the version and edition of the backup, only while no session of Puma or Sidekiq is connected, and only into databases
    that M(gitlab_fleet.upgrade.database_clean) has emptied. The archive must still be the one that was verified, and the one that C(gitlab-backup)
    finds by its id.
  - It does not restore through PgBouncer (port 6432 in C(database.yml)); name the primary with O(database_host) and O(database_port), or
    O(database_overrides), then.
  - That a restore has begun, and that it was proved, is written to C(/var/lib/gitlab_fleet_upgrade/restore.json). While that file says that it was
    proved, and the databases are there, this module does not restore the same backup again.
  - Upgrading, migrating and backing up are refused from the beginning until the restore is proved. Used alone, this module ends that itself. Where the role
    P(gitlab_fleet.upgrade.rollback_restore#role) has begun, they are refused until the role has proved every node and removed the file.
  - When a restore of everything did not get to its end, the databases alone are not restored after it, of no backup.
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
    support: none
    details:
      - What a restore replaces is all there is.
  idempotent:
    support: full
  destructive:
    support: full
    details:
      - Repositories and files are replaced by those of the backup.
options:
  backup:
    description: The id of the backup, which must have a verified manifest on this host. Without it the newest verified one is taken.
    type: str
  database_only:
    description:
      - Whether to restore only the databases, and to leave repositories and files as they are.
      - Git data is newer than the database then, as far as anybody has pushed since the backup.
      - Up to 14.9 GitLab restores all that is in a backup. There it is refused, unless the backup was made of the databases alone.
      - With V(false), a backup that was made without repositories is refused.
    type: bool
    default: false
  accept_schema_errors:
    description:
      - Whether statements of the schema that PostgreSQL refused are no failure, when all rows are there.
      - GitLab itself ignores errors about the ownership of extensions, and so does this module, without being told.
    type: bool
    default: false
  accept_row_differences:
    description:
      - Tables, such as V(public.snippets), that may have other rows than the backup has. They are in RV(notes) then.
      - It is for what this GitLab is known to write or delete in its own restore. A table that is not there at all is not accepted.
    type: list
    elements: str
    default: []
  database_host:
    description:
      - The host, or the directory of the socket, of the PostgreSQL primary (GITLAB_BACKUP_PGHOST). Without it, what C(database.yml) says.
      - Some versions ignore it (15.11 to 16.6, 16.7.0 to 16.7.6, 16.8.0 to 16.8.3), and are refused with it.
    type: str
  database_port:
    description: The primary's port (GITLAB_BACKUP_PGPORT). Without it, that of C(database.yml), also at another O(database_host).
    type: int
  database_user:
    description: The user there (GITLAB_BACKUP_PGUSER). Its password is the one in C(database.yml).
    type: str
  database_overrides:
    description:
      - The same for single databases, where those are on servers of their own, by the names of C(database.yml). C(host), C(port) and C(user) may be named
        (C(GITLAB_BACKUP_CI_PGHOST) and its like); what is not named is as for all databases.
      - Before 16.7.7 and 16.8.4 GitLab has no such variables, or ignores them; the module refuses it there.
    type: dict
  start:
    description:
      - Whether to start a restore. With V(false) only one that is running already, or has ended while nobody was watching, is taken up.
    type: bool
    default: true
requirements:
  - The Linux package (O(install_type=omnibus)).
seealso:
  - module: gitlab_fleet.upgrade.rollback_check
  - module: gitlab_fleet.upgrade.database_clean
"""

EXAMPLES = r"""
---
- name: Restore the backup into the empty databases
  gitlab_fleet.upgrade.gitlab_restore:
    backup: 1700535909_2023_11_21_14.0.12-ee
"""

RETURN = r"""
backup:
  description: The id of the backup.
  type: str
  returned: when the command was over, also when it failed
  sample: 1700535909_2023_11_21_14.0.12-ee
restored:
  description: Whether the backup is restored, and that was proved.
  type: bool
  returned: when the command was over, also when it failed
  sample: true
parts:
  description: The parts as GitLab calls them, and how each went, C(done), C(skipped), or C(running) where it broke off.
  type: list
  elements: dict
  returned: when the command was over, also when it failed
  sample: [{name: database, outcome: done}, {name: repositories, outcome: done}]
schema_errors:
  description: The statements that PostgreSQL refused, in its words.
  type: list
  elements: str
  returned: when the command was over, also when it failed
  sample: []
failures:
  description: Other lines of the output that tell of a failure.
  type: list
  elements: str
  returned: when the command was over, also when it failed
  sample: []
wrong_rows:
  description: What the databases have otherwise than the backup.
  type: list
  elements: str
  returned: failure of the proof
  sample: ["main: public.projects has 0 rows, 42 in the backup"]
seconds:
  description: How long the command ran.
  type: float
  returned: when the command was over, also when it failed
  sample: 31.8
log:
  description: The file on the host that has the command's whole output; null when it was not run. Its errors are in C(errors) beside it.
  type: str
  returned: when the command was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/gitlab_restore.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of that output.
  type: str
  returned: when the command was over, also when it failed
  sample: "2023-11-21 03:05:14 UTC -- Restore task is done.\n"
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the command was over, also when it failed
  sample: []
commands:
  description: The command as it was run, or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: when the command was over, also when it failed
  sample: [[/opt/gitlab/bin/gitlab-backup, restore, BACKUP=1700535909_2023_11_21_14.0.12-ee, GITLAB_ASSUME_YES=1]]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: gitlab_restore, job: gitlab_restore, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _direct_connection, _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore import Choice, RestoreJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_reading import find_manifest


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                backup={"type": "str"},
                database_only={"type": "bool", "default": False},
                accept_schema_errors={"type": "bool", "default": False},
                accept_row_differences={"type": "list", "elements": "str", "default": []},
                **_direct_connection.OPTIONS,
                start={"type": "bool", "default": True},
            )
        ),
        supports_check_mode=True,
    )
    params = module.params
    memory: dict[str, t.Any] = params["memory"] or {}
    try:
        instance = Instance(module)
        jobs = Jobs(instance.runner)
        manifest = find_manifest(Store(), params["backup"])
        choice = Choice(
            manifest,
            params["database_only"],
            params["accept_schema_errors"],
            params["start"],
            tuple(params["accept_row_differences"]),
            _direct_connection.Direct.create(params),
        )
        work = RestoreJob(instance, jobs, memory, choice, module.check_mode)
        waiting = _long_work.run(work, jobs, params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()
