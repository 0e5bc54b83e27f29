#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_migrate_status
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Tell which schema migrations of GitLab are up, down, or without a file
description:
  - Reads every schema migration, regular and post-deployment, of every database of an instance.
  - By default it compares the rows of C(schema_migrations) with the migration files of the installed version, which takes a moment.
    The result is the same as that of C(gitlab-rake db:migrate:status), which boots Rails for it (20 to 60 seconds).
  - An upgrade is not done before all migrations are up in all databases. Neither C(gitlab-ctl reconfigure) nor the package manager
    proves that.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.info_module
options:
  source:
    description:
      - Where the status comes from.
      - V(sql) reads the rows and the migration files.
      - V(rake) runs C(db:migrate:status) and reads what it prints. It fails rather than return a list that leaves out migrations
        which the installed version has, as happens when E(SKIP_POST_DEPLOYMENT_MIGRATIONS) is set for Rails.
    type: str
    choices: [sql, rake]
    default: sql
  state:
    description:
      - Only these migrations are returned in RV(migrations). The other values of the result are about all migrations.
    type: list
    elements: str
    choices: [up, down, no_file]
    default: [up, down, no_file]
  limit:
    description:
      - At most so many migrations, the newest, are returned in RV(migrations) for each database.
      - An instance has thousands of them.
    type: int
seealso:
  - module: gitlab_fleet.upgrade.mark_migration_complete
  - name: GitLab documentation on migrations
    description: How to check and to complete the database migrations of an upgrade.
    link: https://docs.gitlab.com/administration/raketasks/maintenance/#display-status-of-database-migrations
"""

EXAMPLES = r"""
---
- name: Make sure that all migrations are up
  gitlab_fleet.upgrade.db_migrate_status:
    state: [down]
  register: migrations
  failed_when: not migrations.all_up

- name: Show the newest ten of each database, as Rails sees them
  gitlab_fleet.upgrade.db_migrate_status:
    source: rake
    limit: 10

- name: Find out whether a rolled-back instance still has the newer version's tables
  gitlab_fleet.upgrade.db_migrate_status:
    state: [no_file]
  register: migrations
"""

RETURN = r"""
gitlab_version:
  description: The version of the installed code.
  type: str
  returned: success
  sample: 14.2.7-ee
source:
  description: Where the status comes from.
  type: str
  returned: success
  sample: sql
databases:
  description: What each database has, main first.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name of the database's connection.
      type: str
      sample: main
    dbname:
      description: The name of the database.
      type: str
      sample: gitlabhq_production
    up:
      description: How many migrations are up.
      type: int
      sample: 412
    down:
      description: How many migrations are down.
      type: int
      sample: 2
    no_file:
      description:
        - How many migrations are up of which the installed version has no file.
        - Some are normal, since newer versions no longer bring the oldest files. Many newer than the newest file mean
          that the database is of a newer version than the code.
      type: int
      sample: 0
    malformed:
      description:
        - Rows of C(schema_migrations) that are no version at all, which somebody marked by mistake; Rails takes V(20151103134857x) for
          V(20151103134857). Not known, and therefore null, with O(source=rake).
      type: list
      elements: str
      sample: []
migrations:
  description: The migrations that O(state) and O(limit) ask for, by database and version.
  type: list
  elements: dict
  returned: success
  contains:
    database:
      description: The name of the database's connection.
      type: str
      sample: main
    version:
      description: The version, as Rails prints it.
      type: str
      sample: "20151103134857"
    name:
      description: The name, as Rails prints it.
      type: str
      sample: Create lfs objects
    state:
      description: Whether it is V(up), V(down), or up without a file (V(no_file)).
      type: str
      sample: down
    kind:
      description: Whether it is V(regular) or V(post_deployment); null without a file.
      type: str
      sample: regular
down:
  description: All migrations that are down, in the same form.
  type: list
  elements: dict
  returned: success
  sample:
    - database: main
      version: "20151103134857"
      name: Create lfs objects
      state: down
      kind: regular
no_file:
  description: All versions that are up without a file.
  type: list
  elements: dict
  returned: success
  sample:
    - database: main
      version: "20190101000000"
all_up:
  description: Whether no migration is down in any database.
  type: bool
  returned: success
  sample: false
commands:
  description: The commands that were run, as lists of arguments.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-psql, -X, -q, -t, -A, -P, pager=off, -v, ON_ERROR_STOP=1, -d, gitlabhq_production, -f, "-"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _schema_migrations
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import Migration, MigrationFile


class Reading(t.NamedTuple):
    migrations: list[Migration]
    # By database; None where the source does not tell.
    malformed: dict[str, list[str]] | None


def read_sql(instance: Instance, files: list[MigrationFile]) -> Reading:
    migrations: list[Migration] = []
    malformed: dict[str, list[str]] = {}
    for session in instance.sessions():
        rows = _schema_migrations.read_versions(session)
        migrations += _schema_migrations.merge(session.name, rows, files)
        malformed[session.name] = _schema_migrations.malformed_versions(rows)
    return Reading(migrations, malformed)


def read_rake(instance: Instance, files: list[MigrationFile]) -> Reading:
    argv = instance.installation.rake(_schema_migrations.STATUS_TASK)
    result = instance.runner.run(argv, cwd=instance.installation.working_directory)
    if result.rc != 0:
        diagnosis = diagnose(result.output, result.rc)
        raise GitLabError(
            f"{_schema_migrations.STATUS_TASK} failed. {diagnosis.summary} {diagnosis.meaning}",
            diagnosis.remedy,
            diagnosis=diagnosis.to_dict(),
            cmd=argv,
            rc=result.rc,
            stdout=result.stdout,
            stderr=result.stderr,
        )
    return Reading(_schema_migrations.parse_status(result.stdout, instance.topology.databases, files), None)


def newest(migrations: list[Migration], limit: int | None) -> list[Migration]:
    return migrations if limit is None else migrations[max(0, len(migrations) - limit) :]


def run(module: AnsibleModule, instance: Instance) -> dict[str, t.Any]:
    limit: int | None = module.params["limit"]
    if limit is not None and limit < 0:
        raise GitLabError(f"limit is {limit}, which is no number of migrations.", "Give 0 or more, or leave it out.")
    files = _schema_migrations.migration_files(instance.installation.rails_root)
    read = read_sql if module.params["source"] == "sql" else read_rake
    migrations, malformed = read(instance, files)

    databases: list[dict[str, t.Any]] = []
    returned: list[Migration] = []
    for database in instance.topology.databases:
        own = [migration for migration in migrations if migration.database == database.name]
        databases.append(
            {
                "name": database.name,
                "dbname": database.dbname,
                **_schema_migrations.count_states(own),
                "malformed": malformed[database.name] if malformed else None,
            }
        )
        returned += newest([migration for migration in own if migration.state in module.params["state"]], limit)

    down = [migration.to_dict() for migration in migrations if migration.state == _schema_migrations.DOWN]
    return {
        "gitlab_version": str(instance.version),
        "source": module.params["source"],
        "databases": databases,
        "migrations": [migration.to_dict() for migration in returned],
        "down": down,
        "no_file": [
            {"database": migration.database, "version": migration.version}
            for migration in migrations
            if migration.state == _schema_migrations.NO_FILE
        ],
        "all_up": not down,
        "commands": instance.runner.commands,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            source={"type": "str", "choices": ["sql", "rake"], "default": "sql"},
            state={
                "type": "list",
                "elements": "str",
                "choices": list(_schema_migrations.STATES),
                "default": list(_schema_migrations.STATES),
            },
            limit={"type": "int"},
        ),
        supports_check_mode=True,
    )
    try:
        instance = Instance(module)
        result = run(module, instance)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
