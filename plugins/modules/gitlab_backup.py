#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_backup
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Make a backup of GitLab and of its configuration
description:
  - Runs C(gitlab-ctl backup-etc) and then C(gitlab-backup create) as a job that may take as long as it needs, and shows which part is
    being dumped.
  - Up to 15.x C(gitlab-backup) exits with 0 when a part failed, and packs what is there. This module reads every line of its output
    instead, and fails when one tells of a failure or when the end was not reached.
  - It does not say that the backup can be restored. That is what M(gitlab_fleet.upgrade.backup_verify) proves, and no role accepts a
    backup without it.
  - The free space is reckoned and compared before anything is written.
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
    support: none
    details:
      - A backup adds files and changes nothing of the instance.
  idempotent:
    support: partial
    details:
      - With O(id), a backup of that id that was made by this module and is still there is not made again, and RV(notes) tells its age. One that
        was made with other parts is refused. Without O(id), each run makes a new one.
options:
  id:
    description:
      - The id of the backup, which is the name of its archive without C(_gitlab_backup.tar).
      - By default V(fleet_), the time, and GitLab's version. GitLab's own pruning (C(backup_keep_time)) leaves such names alone, so that it
        does not remove the one backup that was verified.
    type: str
  skip:
    description: The parts to leave out.
    type: list
    elements: str
    choices: [db, repositories, uploads, builds, artifacts, pages, lfs, terraform_state, registry, packages, ci_secure_files, external_diffs]
    default: []
  database_only:
    description: Leave out everything but the database, whatever O(skip) says.
    type: bool
    default: false
  strategy:
    description:
      - V(copy) copies the files before it packs them, against C(file changed as we read it). It needs more room.
    type: str
    choices: [stream, copy]
    default: stream
  max_concurrency:
    description: How many repositories are dumped at the same time. By default what GitLab takes.
    type: int
  max_storage_concurrency:
    description: How many repositories of one storage are dumped at the same time. By default what GitLab takes.
    type: int
  database_host:
    description:
      - The PostgreSQL primary itself, where C(database.yml) leads to PgBouncer. A dump through PgBouncer may lack tables.
      - It is given to C(gitlab-backup) as C(GITLAB_BACKUP_PGHOST), which GitLab ignores from 15.11 to 16.6, before 16.7.7 and before 16.8.4;
        the module refuses it there.
    type: str
  database_port:
    description: The primary's port. Without it, that of C(database.yml), also at another O(database_host).
    type: int
  database_user:
    description: The user there. Its password is the one in C(database.yml).
    type: str
  database_overrides:
    description:
      - The same for single databases, where those are on servers of their own, by the names of C(database.yml). C(host), C(port) and C(user) may be named
        (C(GITLAB_BACKUP_CI_PGHOST) and its like); what is not named is as for all databases.
      - Before 16.7.7 and 16.8.4 GitLab has no such variables, or ignores them; the module refuses it there.
    type: dict
  configuration:
    description:
      - Whether to save C(/etc/gitlab) too. Without its C(gitlab-secrets.json) a restored instance cannot read what it has encrypted.
      - By default for the Linux package only.
    type: bool
  backup_path:
    description:
      - The directory of the backups. By default what C(gitlab.yml) says.
      - GitLab cannot be told another one than that for a single backup, so that a path that differs from it is refused. It is for an installation
        whose C(gitlab.yml) names none.
    type: path
  check_space:
    description:
      - Whether to fail when there may not be enough room. The reckoning takes the sizes before compression, or those of the last verified
        backup of the same parts, and RV(space) tells it.
    type: bool
    default: true
seealso:
  - module: gitlab_fleet.upgrade.backup_verify
  - name: GitLab documentation on backups
    description: What a backup holds, and what it does not.
    link: https://docs.gitlab.com/administration/backup_restore/backup_gitlab/
"""

EXAMPLES = r"""
---
- name: Make a backup of everything
  gitlab_fleet.upgrade.gitlab_backup:
  register: backup

- name: Prove that it can be restored
  gitlab_fleet.upgrade.backup_verify:
    id: "{{ backup.id }}"

- name: Save the database alone, round PgBouncer
  gitlab_fleet.upgrade.gitlab_backup:
    id: before-16.11
    database_only: true
    database_host: 10.0.0.5
    database_port: 5432

- name: Make a backup of everything, round PgBouncer, where two databases have a server each
  gitlab_fleet.upgrade.gitlab_backup:
    database_port: 5432
    database_overrides:
      main: {host: 10.0.0.5}
      ci: {host: 10.0.0.6}
"""

RETURN = r"""
gitlab_version:
  description: The version of the installed code.
  type: str
  returned: always, except when it cannot be read
  sample: 14.0.12-ee
id:
  description: The id of the backup.
  type: str
  returned: when the backup was over, also when it failed
  sample: fleet_1700535909_2023_11_21_14.0.12-ee
archive:
  description: The archive.
  type: str
  returned: when the backup was over, also when it failed
  sample: /var/opt/gitlab/backups/fleet_1700535909_2023_11_21_14.0.12-ee_gitlab_backup.tar
configuration:
  description:
    - The archive of C(/etc/gitlab); null without one. It is kept beside the manifest, where C(gitlab-ctl backup-etc) does not prune.
  type: str
  returned: when the backup was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/backups/fleet_1700535909_2023_11_21_14.0.12-ee/gitlab_config_1700535900_2023_11_21.tar
space:
  description: The bytes that were reckoned to be needed, those that were free, and how that was reckoned; null with O(check_space=false).
  type: dict
  returned: when the backup was over, also when it failed
  sample: {needed: 12884901888, free: 85899345920, basis: "tables 4.0 GB and files 2.3 GB, not compressed, twice (parts and archive)"}
skipped:
  description: The parts that were to be left out.
  type: list
  elements: str
  returned: when the backup was over, also when it failed
  sample: []
parts:
  description: The parts in their order, as the output tells.
  type: list
  elements: dict
  returned: when the backup was over, also when it failed
  contains:
    name:
      description: The name that O(skip) knows.
      type: str
      sample: repositories
    label:
      description: The name in the output. From 15.5 on each database has its own.
      type: str
      sample: repositories
    outcome:
      description: V(done), V(skipped), V(disabled), V(failed), or V(running) if its end was not told.
      type: str
      sample: done
    seconds:
      description: How long it took; null if its end was not told.
      type: int
      sample: 72
failures:
  description: The lines that tell of a failure, at most twenty.
  type: list
  elements: str
  returned: when the backup was over, also when it failed
  sample: []
diagnosis:
  description: Why it failed, for programs.
  type: dict
  returned: failure of the backup
  sample: {cause: no_space}
seconds:
  description: How long it took.
  type: float
  returned: when the backup was over, also when it failed
  sample: 184.2
log:
  description: The file on the host that has the whole output. Its errors are in C(errors) beside it.
  type: str
  returned: when the backup was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/gitlab_backup.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of the output, without the errors.
  type: str
  returned: when the backup was over, also when it failed
  sample: "2023-11-21 03:05:14 UTC -- Backup fleet_1700535909_2023_11_21_14.0.12-ee is done.\n"
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the backup was over, also when it failed
  sample: []
commands:
  description: The commands as they were run, or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: when the backup was over, also when it failed
  sample:
    - [/opt/gitlab/bin/gitlab-ctl, backup-etc, --no-delete-old-backups]
    - [/opt/gitlab/bin/gitlab-backup, create, BACKUP=fleet_1700535909_2023_11_21_14.0.12-ee]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: gitlab_backup, job: gitlab_backup, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _direct_connection, _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_create import (
    BackupJob,
    Place,
    configuration_default,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import backup_path, named_backup_path
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_request import COPY, STREAM, Request
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                id={"type": "str"},
                skip={"type": "list", "elements": "str", "choices": list(PARTS), "default": []},
                database_only={"type": "bool", "default": False},
                strategy={"type": "str", "choices": [STREAM, COPY], "default": STREAM},
                max_concurrency={"type": "int"},
                max_storage_concurrency={"type": "int"},
                **_direct_connection.OPTIONS,
                configuration={"type": "bool"},
                backup_path={"type": "path"},
                check_space={"type": "bool", "default": True},
            )
        ),
        supports_check_mode=True,
    )
    params = module.params
    memory: dict[str, t.Any] = params["memory"] or {}
    known: dict[str, t.Any] = {}
    try:
        request = Request.create(params)
        instance = Instance(module)
        known["gitlab_version"] = str(instance.version)
        configuration = params["configuration"]
        place = Place(
            directory=params["backup_path"] or backup_path(instance.installation),
            configured=named_backup_path(instance.installation),
            configuration=configuration_default(params["install_type"]) if configuration is None else configuration,
            check_space=params["check_space"],
        )
        jobs = Jobs(instance.runner)
        work = BackupJob(instance, jobs, Store(), memory, params["id"], request, place, module.check_mode)
        waiting = _long_work.run(work, jobs, params)
    except GitLabError as error:
        module.fail_json(**dict(known, **error.to_result()))
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**dict(known, **work.result))


if __name__ == "__main__":
    main()
