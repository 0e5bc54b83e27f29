#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Prove that a backup of GitLab is whole
description:
  - Reads a backup from end to end as a job that may take as long as it needs, and writes what it found into the backup's manifest.
  - "It looks whether the archive and each file in it are whole; whether each part is there that must be, with something in it; whether each
    dump of a database has PostgreSQL's mark of its end, the tables of the database, and its schema migrations; whether version and edition
    are those that are installed; whether only that was left out which was to be left out; whether a line of the output tells of a failure;
    whether the archive of the configuration has C(gitlab.rb) and C(gitlab-secrets.json); and whether that is the same on all nodes."
  - The rows of each table are counted from the dump. Those of some tables are compared with the database, which goes on changing while the
    instance serves; other numbers are told and are no failure, a table that is missing or has lost all of its rows is one.
  - It fails when a check does not pass. The manifest then says so, and no module and no role of this collection accepts the backup.
  - A backup that was verified before is not compared with the instance again, which may have been upgraded since. Its files are read as the
    first time; as long as they are the same, the manifest stays as it is. When they are not, or cannot be read, it is not verified any more
    until those that were verified are brought back.
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
      - In check mode the backup is read without a job, and no manifest is written.
  diff_mode:
    support: none
    details:
      - Only the manifest is written, which the module returns.
  idempotent:
    support: full
options:
  id:
    description: The id of the backup, which is the name of its archive without C(_gitlab_backup.tar).
    type: str
    required: true
  archive:
    description: The archive, if it is neither where it was made or verified last, nor in O(backup_path) under its usual name.
    type: path
  backup_path:
    description: The directory of the backups. By default what C(gitlab.yml) says.
    type: path
  configuration:
    description:
      - Whether the backup must have an archive of C(/etc/gitlab), and the secrets must be the same on all nodes.
      - By default for the Linux package only.
    type: bool
  configuration_archive:
    description:
      - The archive of C(/etc/gitlab). By default the one that M(gitlab_fleet.upgrade.gitlab_backup) made with this backup, or that was
        verified with it.
    type: path
  skip:
    description:
      - The parts that were to be left out. By default those that M(gitlab_fleet.upgrade.gitlab_backup) was told to leave out.
    type: list
    elements: str
    choices: [db, repositories, uploads, builds, artifacts, pages, lfs, terraform_state, registry, packages, ci_secure_files, external_diffs]
  node:
    description: What this node is called in the manifest. By default the host's name.
    type: str
  secrets:
    description:
      - The sha256 of C(/etc/gitlab/gitlab-secrets.json) on the other Rails and Sidekiq nodes, by their names. Null for a node that has none, or
        that could not be asked, is a failure.
    type: dict
    default: {}
seealso:
  - module: gitlab_fleet.upgrade.gitlab_backup
  - module: gitlab_fleet.upgrade.backup_prove
  - module: gitlab_fleet.upgrade.backup_retention
"""

EXAMPLES = r"""
---
- name: Prove that a backup is whole
  gitlab_fleet.upgrade.backup_verify:
    id: before-16.11
    node: acme-1
    secrets:
      acme-2: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae

- name: Look at a backup that was made by hand
  gitlab_fleet.upgrade.backup_verify:
    id: 1700535909_2023_11_21_14.0.12-ee
    configuration_archive: /etc/gitlab/config_backup/gitlab_config_1700535909_2023_11_21.tar
  check_mode: true
"""

RETURN = r"""
verified:
  description: Whether all checks passed.
  type: bool
  returned: when the backup could be read, also when it is not whole
  sample: true
manifest:
  description: The manifest as it is on the host, or would be in check mode.
  type: dict
  returned: when the backup could be read, also when it is not whole
  contains:
    format:
      description: The version of this form.
      type: int
      sample: 1
    id:
      description: The id of the backup.
      type: str
      sample: before-16.11
    archive:
      description: Path, size in bytes and sha256 of the archive.
      type: dict
      sample:
        path: /var/opt/gitlab/backups/before-16.11_gitlab_backup.tar
        size: 10240
        sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    configuration:
      description: Path, size, sha256 and files (RV(ignore:members)) of the archive of C(/etc/gitlab); null without one.
      type: dict
      sample: null
    gitlab:
      description: Version, edition, package (name and version, or null) and way of installation.
      type: dict
      sample: {version: 14.0.12-ee, edition: ee, package: {name: gitlab-ee, version: 14.0.12-ee.0}, install_type: omnibus}
    postgresql:
      description: The version of the server.
      type: dict
      sample: {version: "12.6", major: 12}
    databases:
      description: For each dump the rows by table, and the schema migrations with their number and the newest of them.
      type: list
      elements: dict
      sample:
        - name: main
          dbname: gitlabhq_production
          dump: db/database.sql.gz
          dump_size: 512
          rows: {public.projects: 42}
          schema_migrations: 2
          newest_schema_migration: "20210611100359"
          versions: ["20210611042021", "20210611100359"]
    parts:
      description: The parts with the number of their files in the archive and their bytes.
      type: list
      elements: dict
      sample: [{name: repositories, members: 7, size: 4096}]
    skipped:
      description: The parts that the backup does not have, on purpose.
      type: list
      elements: str
      sample: [registry]
    secrets:
      description: The sha256 of C(gitlab-secrets.json) by node; empty where it could not be read.
      type: dict
      sample: {acme-1: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
    created_at:
      description: When the backup was made.
      type: str
      sample: "2023-11-21T03:05:09Z"
    verified_at:
      description: When it was looked at.
      type: str
      sample: "2023-11-21T03:10:00Z"
    verified:
      description: Whether all checks passed.
      type: bool
      sample: true
    checks:
      description: The checks.
      type: list
      elements: dict
      sample: [{name: dump of main, passed: true, detail: "db/database.sql.gz: complete, 812 tables with 4711 rows"}]
    proved_by_restore:
      description: The proof of M(gitlab_fleet.upgrade.backup_prove), or null.
      type: dict
      sample: null
    copies:
      description: The copies elsewhere whose checksum was read there.
      type: list
      elements: dict
      sample: []
manifest_path:
  description: Where it is on the host.
  type: str
  returned: when the backup could be read, also when it is not whole
  sample: /var/lib/gitlab_fleet_upgrade/backups/before-16.11/manifest.json
checks:
  description: The checks, as in the manifest.
  type: list
  elements: dict
  returned: when the backup could be read, also when it is not whole
  sample: [{name: dump of main, passed: true, detail: "db/database.sql.gz: complete, 812 tables with 4711 rows"}]
seconds:
  description: How long the reading took.
  type: float
  returned: when the backup could be read, also when it is not whole
  sample: 34.1
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: when the backup could be read, also when it is not whole
  sample: []
commands:
  description: Always empty, since nothing of the instance is changed.
  type: list
  elements: list
  returned: when the backup could be read, also when it is not whole
  sample: []
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: backup_verify, job: backup_verify, text: ""}
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
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_create import configuration_default
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import SUFFIX, Package
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import backup_path
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_verify import Backup, VerifyJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import find_package


def choose(module: AnsibleModule, instance: Instance, store: Store) -> Backup:
    """Return the backup that the options point at, with what the run that made it and its verification left."""
    params = module.params
    run = store.read_run(params["id"]) or {}
    former = store.verified_once(params["id"])
    saved = former.configuration if former else None
    directory = params["backup_path"] or backup_path(instance.installation)
    usual = os.path.join(directory, f"{params['id']}{SUFFIX}")
    configuration = params["configuration"]
    return Backup(
        id=params["id"],
        archive=params["archive"] or (former.archive.path if former else run.get("archive") or usual),
        configuration=params["configuration_archive"] or (saved.path if saved else run.get("configuration")),
        configuration_wanted=configuration_default(params["install_type"]) if configuration is None else configuration,
        skip=tuple(run.get("skipped", ()) if params["skip"] is None else params["skip"]),
        node=params["node"] or socket.gethostname(),
        secrets=params["secrets"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                id={"type": "str", "required": True},
                archive={"type": "path"},
                backup_path={"type": "path"},
                configuration={"type": "bool"},
                configuration_archive={"type": "path"},
                skip={"type": "list", "elements": "str", "choices": list(PARTS)},
                node={"type": "str"},
                # The checksums are no secrets.
                secrets={"type": "dict", "default": {}, "no_log": False},
            )
        ),
        supports_check_mode=True,
    )
    memory: dict[str, t.Any] = module.params["memory"] or {}
    try:
        instance = Instance(module)
        store = Store()
        backup = choose(module, instance, store)

        def package() -> Package | None:
            if instance.installation.install_type != OMNIBUS:
                return None
            found = find_package(instance.runner, module.get_bin_path("dpkg-query"), module.get_bin_path("rpm"))
            return Package(found.name, found.version)

        jobs = Jobs(instance.runner)
        work = VerifyJob(instance, jobs, store, memory, backup, package, module.check_mode)
        waiting = _long_work.run(work, jobs, module.params)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()
