#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_migrate
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Run GitLab's schema migrations
description:
  - Runs C(gitlab-rake db:migrate), or C(gitlab:db:configure), as a job that may take as long as it needs, shows which migration is
    running, and counts by the rows of C(schema_migrations) what was done.
  - From about 15.1 on C(db:migrate) finishes batched background migrations itself, which can take hours; C(gitlab-ctl reconfigure) gives
    up after one hour, this module does not.
  - When no migration is down the command is not run.
  - It succeeds only when no migration is left that should be up.
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
  task:
    description:
      - The Rake task. V(gitlab:db:configure) loads the schema into an empty database and migrates any other.
    type: str
    choices: ['db:migrate', 'gitlab:db:configure']
    default: db:migrate
  skip_post_deployment:
    description:
      - Leave out the post-deployment migrations, as in the first half of an upgrade without downtime.
    type: bool
    default: false
seealso:
  - module: gitlab_fleet.upgrade.db_migrate_status
  - module: gitlab_fleet.upgrade.bbm_finalize
  - module: gitlab_fleet.upgrade.mark_migration_complete
"""

EXAMPLES = r"""
---
- name: Migrate the database
  gitlab_fleet.upgrade.db_migrate:

- name: Run the regular migrations while older nodes still serve
  gitlab_fleet.upgrade.db_migrate:
    skip_post_deployment: true

- name: See what would run
  gitlab_fleet.upgrade.db_migrate:
  check_mode: true
"""

RETURN = r"""
gitlab_version:
  description: The version of the installed code.
  type: str
  returned: always, except when it cannot be read
  sample: 14.2.7-ee
applied:
  description: The migrations that were down before and are up now, by database and version.
  type: list
  elements: dict
  returned: when the command was over, also when it failed
  contains:
    database:
      description: The name of the database.
      type: str
      sample: main
    version:
      description: The migration's version.
      type: str
      sample: "20210622045705"
    name:
      description: The migration's name, as the log shows it, or else as its file is named.
      type: str
      sample: FinalizePushEventPayloadsBigintConversion
    seconds:
      description: How long it took; null when the log does not tell.
      type: float
      sample: 0.4
before:
  description: How many migrations were down before, for each database.
  type: dict
  returned: when the command was over, also when it failed
  sample: {main: 12}
after:
  description: How many are down now.
  type: dict
  returned: when the command was over, also when it failed
  sample: {main: 0}
pending:
  description: The migrations that are down now, in the form of M(gitlab_fleet.upgrade.db_migrate_status). In check mode, those that would run.
  type: list
  elements: dict
  returned: when the command was over, also when it failed
  sample: []
seconds:
  description: How long the command ran.
  type: float
  returned: when the command was over, also when it failed
  sample: 48.2
log:
  description: The file on the host that has the command's whole output; null when it was not run. Its errors are in C(errors) beside it.
  type: str
  returned: when the command was over, also when it failed
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/db_migrate.20261120T072244.1795159793727774464/log
log_tail:
  description: The end of the output, without the errors.
  type: str
  returned: when the command was over, also when it failed
  sample: "== 20210622045705 FinalizePushEventPayloadsBigintConversion: migrated (0.4012s)\n\n"
output:
  description: What the command printed, errors included, for the option C(error_text) of the modules that mend the cause.
  type: str
  returned: failure of the command
  sample: |-
    == 20151103134857 CreateLfsObjects: migrating =================================
    -- create_table(:lfs_objects)
    rake aborted!
    StandardError: An error has occurred, this and all later migrations canceled:

    PG::DuplicateTable: ERROR:  relation "lfs_objects" already exists
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
  sample: {cause: lock_timeout, migration_version: "20210622045705"}
commands:
  description: The command as it was run, or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: when the command was over, also when it failed
  sample: [[/opt/gitlab/bin/gitlab-rake, "db:migrate"]]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: db_migrate, job: db_migrate, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._db_migrate import CONFIGURE, MIGRATE, MigrateJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                task={"type": "str", "choices": [MIGRATE, CONFIGURE], "default": MIGRATE},
                skip_post_deployment={"type": "bool", "default": False},
            )
        ),
        supports_check_mode=True,
    )
    memory: dict[str, t.Any] = module.params["memory"] or {}
    known: dict[str, t.Any] = {}
    try:
        instance = Instance(module)
        known["gitlab_version"] = str(instance.version)
        jobs = Jobs(instance.runner)
        skip = module.params["skip_post_deployment"]
        work = MigrateJob(instance, jobs, memory, module.params["task"], skip, module.check_mode)
        waiting = _long_work.run(work, jobs, module.params)
    except GitLabError as error:
        module.fail_json(**dict(known, **error.to_result()))
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    result = work.result
    if module._diff:
        result["diff"] = {moment: {"down": result[moment]} for moment in ("before", "after")}
    module.exit_json(**dict(known, **result))


if __name__ == "__main__":
    main()
