#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_check
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Say whether an instance can be rolled back to a backup, what there is to do, and what would be lost
description:
  - GitLab has no way back but the older package and the backup, and everything that was written since the backup is lost by it.
    This module reads whether that way is open, gives every reason where it is not, and counts what would be lost.
  - It looks whether the backup is verified and its files are still the same (they are read from end to end), of the same edition and of an older or the same
    version; whether C(gitlab-backup) would find that very archive and could read it; whether the old package can be had; whether PostgreSQL can load
    the dumps, and is reached without PgBouncer; whether every database is in the backup;
    whether the secrets are those of the backup, on every node; whether there is room.
  - It also says how the instance stands to the backup, so that an interrupted rollback goes on where it stands.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.info_module
options:
  backup:
    description: The id of the backup, which must have a manifest on this host. Without it the newest verified backup is taken.
    type: str
  node:
    description: The inventory name of this host, by which the manifest knows its secrets.
    type: str
    required: true
  secrets:
    description:
      - The sha256 of C(/etc/gitlab/gitlab-secrets.json) of every node of the instance, by inventory name; empty where a node has none.
    type: dict
    required: true
  configuration:
    description:
      - Whether the configuration and the secrets are going to be put back from the backup (V(from_backup)), or stay as they are (V(keep)).
      - Only with V(from_backup) the backup's archive of C(/etc/gitlab) must be there, as it was verified.
    type: str
    choices: [from_backup, keep]
    default: from_backup
  database_only:
    description: Whether only the databases are going to be restored.
    type: bool
    default: false
  database_host:
    description:
      - Where the restore is going to reach the PostgreSQL primary, as in M(gitlab_fleet.upgrade.gitlab_restore).
      - Without it, what C(database.yml) says.
    type: str
  database_port:
    description: The primary's port.
    type: int
  database_user:
    description: The user there.
    type: str
  database_overrides:
    description: The same for single databases, as in M(gitlab_fleet.upgrade.gitlab_restore).
    type: dict
  package_file:
    description: The file of the old package on this host, where the package sources do not have it any more.
    type: path
  count_rows:
    description:
      - Whether to count every row of every table, which is the only way to say what would be lost. It reads the whole database.
      - With V(false) RV(loss) is null, which means unknown.
    type: bool
    default: true
requirements:
  - The Linux package (O(install_type=omnibus)).
seealso:
  - module: gitlab_fleet.upgrade.database_clean
  - module: gitlab_fleet.upgrade.gitlab_restore
"""

EXAMPLES = r"""
---
- name: Ask whether there is a way back
  gitlab_fleet.upgrade.rollback_check:
    backup: 1700535909_2023_11_21_14.0.12-ee
    node: "{{ inventory_hostname }}"
    secrets:
      gitlab.example.com: 5b1c6a3d9f9f4e1d6a4cf7a0a1a1f0b8d5a6c0f5cf2fd4c3f7d2b9f6a1e0c9d8
  register: way_back
"""

RETURN = r"""
state:
  description:
    - V(nothing_to_do), when the version of the backup is installed and the database is that of this version.
    - V(restored), when the backup was restored, and the run did not get to its end.
    - V(roll_back) otherwise.
  type: str
  returned: success
  sample: roll_back
begun:
  description:
    - Whether an earlier run has begun to roll back to this backup and did not get to the end of the restore.
    - The databases may be empty in part then, and RV(loss) is only what is left of what is lost.
  type: bool
  returned: success
  sample: false
record:
  description: What is to be written to C(/var/lib/gitlab_fleet_upgrade/restore.json) before anything is changed.
  type: dict
  returned: success
  sample:
    backup: 1700535909_2023_11_21_14.0.12-ee
    sha256: 5b1c6a3d9f9f4e1d6a4cf7a0a1a1f0b8d5a6c0f5cf2fd4c3f7d2b9f6a1e0c9d8
    database_only: false
    unpacked: false
    files: false
    rollback: true
    finished_at: null
rolling_back:
  description:
    - The backup that an earlier run has begun to roll back to, which can be another one than RV(backup); null when there is none.
    - As long as there is one, nothing may serve.
  type: str
  returned: success
  sample: null
possible:
  description: Whether rolling back is possible. It is false as long as there is one reason against it.
  type: bool
  returned: success
  sample: true
reasons:
  description: Why it is not possible.
  type: list
  elements: dict
  returned: success
  contains:
    check:
      description: What was looked at.
      type: str
      sample: space
    text:
      description: What was found and what it means.
      type: str
      sample: A restore needs about 3000000000 bytes in the folder of the archive, 3 times its size, and 1000000 are free.
    remedy:
      description: What to do.
      type: str
      sample: Make room there; a restore on a full disk can hang for ever.
steps:
  description: What a rollback would do, in its order.
  type: list
  elements: str
  returned: success
  sample: [install GitLab 14.0.12-ee in the place of 14.2.7-ee, put the configuration of the backup back, drop everything in the databases]
postgresql:
  description: What PostgreSQL needs before the package changes. V(revert) is M(gitlab_fleet.upgrade.postgresql_revert); null is nothing.
  type: str
  returned: success
  sample: null
backup:
  description: The manifest of the backup, without the rows of its tables and the versions of its schema migrations.
  type: dict
  returned: success
  sample:
    id: 1700535909_2023_11_21_14.0.12-ee
    created_at: "2023-11-21T03:05:09Z"
    gitlab: {version: 14.0.12-ee, edition: ee, package: {name: gitlab-ee, version: 14.0.12-ee.0}, install_type: omnibus}
version:
  description: The version that is installed.
  type: str
  returned: success
  sample: 14.2.7-ee
loss:
  description: What the databases have otherwise than the backup, for each database and table. Null when it was not counted.
  type: dict
  returned: success
  sample:
    main:
      - {table: public.projects, backup: 42, now: 44, created_since: 2, updated_since: 2, newest: "2023-11-22T08:00:01Z", bookkeeping: false}
loss_text:
  description: The same for people, without the tables that no user writes to.
  type: list
  elements: str
  returned: success
  sample: ["main projects: 2 rows more, 2 made since, 2 changed since, newest 2023-11-22T08:00:01Z"]
schemas:
  description: The schema migrations of each database. C(beyond) are those that neither the backup nor the installed code has.
  type: list
  elements: dict
  returned: success
  sample: [{name: main, dbname: gitlabhq_production, rows: 31, newest: "20210806011811", beyond: []}]
commands:
  description: The commands that were run, as lists of arguments.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-psql, -X, -q, -t, -A, -P, pager=off, -v, ON_ERROR_STOP=1, -d, gitlabhq_production, -f, "-"]
"""

import itertools
import os
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _direct_connection,
    _restore_place,
    _rollback,
    _rollback_loss,
    _rolling_back,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback_reading as reading
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store, difference
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import INSTALLED, Package, find_package
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package_install import Host, Wish
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._postgresql_revert import refuse_while_running
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import migration_files
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import read_record

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest


def why_package_is_missing(runner: t.Any, package: Package, manifest: Manifest, file: str | None) -> str | None:
    """Return why the old package cannot be had, None when it can, or is there."""
    wanted = manifest.gitlab.package
    if wanted is None:
        return "The backup does not know by which package GitLab was installed."
    if (package.version, package.state) == (wanted.version, INSTALLED):
        return None
    if package.name != wanted.name:
        return f"{package.name} is installed, and the backup was made with {wanted.name}."
    try:
        Host(runner).check_obtainable(package, Wish(wanted.version, file, True, True))
    except GitLabError as error:
        return error.msg
    return None


def count_loss(instance: Instance, manifest: Manifest) -> dict[str, list[_rollback_loss.Difference]]:
    rows = {one.dbname: one.rows for one in manifest.databases}
    return {
        session.name: _rollback_loss.differences(
            rows.get(session.dbname, {}), _rollback_loss.count(session, since=manifest.created_at)
        )
        for session in instance.sessions()
    }


def run(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    instance = Instance(module)
    if instance.installation.install_type != OMNIBUS:
        raise GitLabError(
            "A self-compiled GitLab is not rolled back by its package.",
            "Check the old version out of Git, run database_clean, and restore with bundle exec rake gitlab:backup:restore.",
        )
    refuse_while_running(Jobs(instance.runner))
    manifest = reading.find_manifest(Store(), params["backup"])
    direct = _direct_connection.Direct.create(params)
    options = _rollback.Options(params["node"], params["configuration"], params["database_only"], direct)
    package = find_package(instance.runner, module.get_bin_path("dpkg-query"), module.get_bin_path("rpm"))
    files = {file.version for file in migration_files(instance.installation.rails_root)}
    sessions = instance.sessions()
    # Before anything else is asked of it: its error says most.
    postgresql = reading.read_postgresql(sessions[0])
    configuration = manifest.configuration if options.configuration == _rollback.FROM_BACKUP else None
    changed_configuration = difference(configuration)
    facts = _rollback.Facts(
        manifest=manifest,
        version=instance.version_text,
        package_state=package.state,
        schemas=[reading.read_schema(session, manifest, files) for session in sessions],
        postgresql=postgresql,
        free=reading.free_bytes(os.path.dirname(manifest.archive.path)),
        place=_restore_place.look(instance, manifest),
        connections=_direct_connection.read_connections(instance.installation),
        changed_archives=reading.changed_archives(manifest),
        changed_configuration=changed_configuration,
        package_missing=why_package_is_missing(instance.runner, package, manifest, params["package_file"]),
        secrets={node: digest or None for node, digest in params["secrets"].items()},
        archived_secrets=reading.archived_secrets(configuration.path)
        if configuration and not changed_configuration
        else None,
        record=read_record(_rolling_back.RECORD),
    )
    state = _rollback.state(facts, options)
    reasons = _rollback.reasons(facts, options)
    loss = count_loss(instance, manifest) if params["count_rows"] and state == _rollback.ROLL_BACK else None
    under_way = _rolling_back.target(facts.record)
    step = _rollback.postgresql_step(facts.postgresql, manifest.postgresql.major)
    described = manifest.to_dict()
    for database in described["databases"]:
        del database["rows"], database["versions"]
    return {
        "changed": False,
        "state": state,
        "begun": _rollback.is_begun(facts.record, manifest),
        "record": _rolling_back.begin(
            facts.record, manifest.id, manifest.archive.sha256, options.database_only, rollback=True
        ),
        "rolling_back": under_way and under_way.backup,
        "possible": not reasons,
        "reasons": [asdict(reason) for reason in reasons],
        "steps": _rollback.steps(facts, options),
        "postgresql": step if isinstance(step, str) else None,
        "backup": described,
        "version": facts.version,
        "loss": None if loss is None else {name: [one.to_dict() for one in found] for name, found in loss.items()},
        "loss_text": [f"{name} {one}" for name, found in (loss or {}).items() for one in found if not one.bookkeeping],
        "schemas": [dict(asdict(schema), beyond=list(schema.beyond)) for schema in facts.schemas],
        "commands": [argv for argv, _repeated in itertools.groupby(instance.runner.commands)],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            backup={"type": "str"},
            node={"type": "str", "required": True},
            secrets={"type": "dict", "required": True, "no_log": False},
            configuration={
                "type": "str",
                "choices": [_rollback.FROM_BACKUP, _rollback.KEEP],
                "default": _rollback.FROM_BACKUP,
            },
            database_only={"type": "bool", "default": False},
            package_file={"type": "path"},
            **_direct_connection.OPTIONS,
            count_rows={"type": "bool", "default": True},
        ),
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
