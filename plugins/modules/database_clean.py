#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_clean
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Drop all that GitLab made in its databases, before a backup is restored into them
description:
  - A restore, and GitLab's own C(gitlab:db:drop_tables) that it begins with, drop the tables that the installed version finds. Views, functions, types
    and schemas of a newer version stay, and the next upgrade fails at them (C(PG::DuplicateTable), C(PG::DuplicateFunction)).
  - This module drops, in every physical database, every object that belongs to GitLab's role, whatever its kind, in every schema,
    and then the schemas of that role. It reads afterwards whether anything is left.
  - Extensions and their objects stay. So does what belongs to other roles, such as the function by which PgBouncer looks up passwords; it is in
    RV(databases[].kept).
  - It drops nothing while sessions of Puma or Sidekiq are connected, nor what the backup would not bring back. The backup must be verified, of the installed
    version and edition, and have a dump of every database that is not empty; C(gitlab-backup) must find its archive and be able to read it.
  - Before it drops anything, it writes to C(/var/lib/gitlab_fleet_upgrade/restore.json) that a restore is to follow (not with O(install_type=source)). Until
    M(gitlab_fleet.upgrade.gitlab_restore) has proved one, upgrading, migrating and backing up are refused. If you restore in another way, remove that
    file afterwards.
  - Interrupted, it has dropped a part; run again, it drops the rest.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
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
      - All data in the databases is lost. Afterwards only the backup has it.
options:
  backup:
    description:
      - The id of the backup that is going to be restored. It must have a verified manifest on this host, and its archive must still be the one that was
        verified, which is read from end to end.
    type: str
    required: true
  accept_loss_of_all_data:
    description: Must be V(true). It says that you know that the databases will be empty afterwards.
    type: bool
    required: true
seealso:
  - module: gitlab_fleet.upgrade.rollback_check
  - module: gitlab_fleet.upgrade.gitlab_restore
"""

EXAMPLES = r"""
---
- name: Stop what writes to the databases
  gitlab_fleet.upgrade.gitlab_services:
    name: [puma, sidekiq]
    state: stopped
    remember: true

- name: Drop everything, so that nothing of the newer version is left behind
  gitlab_fleet.upgrade.database_clean:
    backup: 1700535909_2023_11_21_14.0.12-ee
    accept_loss_of_all_data: true
"""

RETURN = r"""
backup:
  description: The id of the backup that proves that the data is elsewhere.
  type: str
  returned: success
  sample: 1700535909_2023_11_21_14.0.12-ee
databases:
  description: What each physical database had and has. In check mode nothing is dropped, and C(objects_after) is what would be left.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name of the database's first connection.
      type: str
      sample: main
    dbname:
      description: The name of the database.
      type: str
      sample: gitlabhq_production
    role:
      description: The role whose objects are dropped.
      type: str
      sample: gitlab
    objects:
      description: How many objects of each kind there were.
      type: dict
      sample: {function: 3, schema: 2, sequence: 31, table: 36, view: 2}
    objects_after:
      description: How many there are now.
      type: dict
      sample: {}
    kept:
      description: What belongs to other roles, and stays.
      type: list
      elements: dict
      sample: [{kind: function, name: "public.pg_shadow_lookup(text)", owner: gitlab-psql}]
    taken_along:
      description: What belonged to other roles and went all the same, because it was made from what was dropped.
      type: list
      elements: dict
      sample: []
    extensions:
      description: The extensions, which stay.
      type: list
      elements: str
      sample: [btree_gist, pg_trgm, plpgsql]
notes:
  description: In check mode, why nothing would be dropped now, such as services that are still connected.
  type: list
  elements: str
  returned: success
  sample: []
commands:
  description: The commands that were run, as lists of arguments.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-psql, -X, -q, -t, -A, -P, pager=off, -v, ON_ERROR_STOP=1, -d, gitlabhq_production, -f, "-"]
"""

import itertools
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _database_clean as clean
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _restore_place, _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore import RestoreJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import read_record, write_record

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

CONNECTED = "Stop puma and sidekiq on every node of the instance (gitlab-ctl stop puma; gitlab-ctl stop sidekiq), then run this again."
OTHER_BACKUP = (
    "Use a backup of this version that has every database; the role rollback_restore brings the version back first."
)

Found = t.Sequence[t.Tuple["Session", clean.Contents]]


def objections(instance: Instance, manifest: Manifest, found: Found) -> list[tuple[str, str]]:
    """Return everything that speaks against dropping what was found, and what to do about it."""
    full = [(session, contents) for session, contents in found if not contents.empty]
    if not full:
        return []
    unrestorable = clean.not_restorable(
        manifest, instance.version_text, [session.dbname for session, _contents in full]
    )
    # A self-compiled GitLab is restored by hand, from where the operator says.
    place = _restore_place.look(instance, manifest) if instance.installation.install_type == OMNIBUS else None
    misplaced = _restore_place.problem(place, manifest.archive.path) if place else None
    return [
        *((text, OTHER_BACKUP) for text in unrestorable),
        *([misplaced] if misplaced else []),
        *((text, CONNECTED) for session, contents in found for text in clean.refusals(session.name, contents)),
    ]


def record_beginning(instance: Instance, manifest: Manifest) -> None:
    """Record that from now on the databases pass for nothing but the target of a restore, until gitlab_restore has proved one."""
    # A self-compiled GitLab is restored by hand, where nothing would end the record.
    if instance.installation.install_type == OMNIBUS:
        record = _rolling_back.begin(read_record(_rolling_back.RECORD), manifest.id, manifest.archive.sha256)
        write_record(_rolling_back.RECORD, record)


def empty(session: Session, before: clean.Contents) -> clean.Contents:
    """Drop what is GitLab's and return what is there afterwards."""
    session.change(clean.plan(before))
    after = clean.read(session, before.role)
    if not after.empty:
        raise GitLabError(
            f"PostgreSQL said nothing against it, yet objects are left in the database {session.name}: "
            + ", ".join(item.identity for item in after.own[:20]),
            "Look who makes them (pg_stat_activity), stop that, and run this again.",
            left=[item.to_dict() for item in after.own],
        )
    lost = clean.lost_extensions(before, after)
    if lost:
        raise GitLabError(
            f"Extensions went with what was dropped in the database {session.name}: {', '.join(lost)}.",
            "; ".join(f"gitlab-psql -d {session.dbname} -c 'CREATE EXTENSION {name}'" for name in lost),
            extensions=lost,
        )
    return after


def run(module: AnsibleModule) -> dict[str, t.Any]:
    if not module.params["accept_loss_of_all_data"]:
        raise GitLabError(
            "This drops all data of GitLab's databases, and that was not accepted.",
            "Set accept_loss_of_all_data: true if a backup is going to be restored.",
        )
    instance = Instance(module)
    restore = Jobs(instance.runner).find(RestoreJob.name)
    if restore is not None and restore.status == RUNNING:
        raise GitLabError(
            "A restore is running on this host, which is filling these databases.",
            f"Wait until it ends (its output: {restore.log}); gitlab_restore with the same options waits for it.",
            log=restore.log,
        )
    manifest = Store().require(module.params["backup"])
    roles = {database.name: database.username for database in instance.topology.databases}
    found = [(session, clean.read(session, roles[session.name])) for session in instance.sessions()]
    against = objections(instance, manifest, found)
    reasons = [text for text, _remedy in against]
    if reasons and not module.check_mode:
        remedies = " ".join(dict.fromkeys(remedy for _text, remedy in against))
        raise GitLabError(f"Nothing was dropped. {' '.join(reasons)}", remedies, reasons=reasons)
    if any(not contents.empty for _session, contents in found) and not module.check_mode:
        record_beginning(instance, manifest)
    databases = []
    for session, before in found:
        after = before if module.check_mode or before.empty else empty(session, before)
        databases.append(
            {
                "name": session.name,
                "dbname": session.dbname,
                "role": before.role,
                "objects": before.counts(),
                "objects_after": {} if module.check_mode else after.counts(),
                "kept": [item.to_dict() for item in after.kept],
                "taken_along": [item.to_dict() for item in clean.taken_along(before, after)],
                "extensions": list(after.extensions),
            }
        )
    result: dict[str, t.Any] = {
        "changed": any(not contents.empty for _session, contents in found),
        "backup": manifest.id,
        "databases": databases,
        "notes": reasons,
        "commands": [argv for argv, _repeated in itertools.groupby(instance.runner.commands)],
    }
    if module._diff:
        result["diff"] = {
            "before": {one["name"]: one["objects"] for one in databases},
            "after": {one["name"]: one["objects_after"] for one in databases},
        }
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            backup={"type": "str", "required": True},
            accept_loss_of_all_data={"type": "bool", "required": True},
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
