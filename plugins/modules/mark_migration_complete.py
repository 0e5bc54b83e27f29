#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mark_migration_complete
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Mark one schema migration of GitLab as complete, with proof and a reason
description:
  - Records a schema migration as done without running it, for a migration that fails because what it makes exists already
    (C(PG::DuplicateTable) and the like), as happens after a restore into a database that was not empty.
  - GitLab's own task takes any number, C(-5) and the version of a migration that does not exist among them. This module marks only a
    version that a migration file of the installed GitLab has, and only where it is down; there is no way to force another one.
  - Every table that the migration's file makes is compared with it, column by column (name, type, and whether it may be null).
    The migration is not marked when one of them is missing, lacks a column or has another one, unless O(accept_difference=true).
  - Where the file does not say plainly which columns a table gets, and for indexes, constraints and other objects that O(error_text) says exist already, only a
    person can say whether they have the shape that the migration would give them. RV(existing_object) shows it, and the migration is not marked either, unless
    O(accept_difference=true). If they differ, restore into an empty database instead.
  - With O(version), for a migration that makes no table nothing is compared.
  - Each mark is written to C(/var/lib/gitlab_fleet_upgrade/marked.jsonl) on the host, with its reason.
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
      - A migration that is marked is never run. If its object has another shape, later migrations or GitLab itself fail.
options:
  version:
    description:
      - The version, exactly the 14 digits at the beginning of the migration's file name.
      - One of O(version) and O(error_text) is required.
    type: str
  error_text:
    description:
      - What the failing C(db:migrate) or C(gitlab-ctl reconfigure) printed. The version is taken from it, and the database, where it is named.
      - It must tell of an object that exists already, and that object must be in the database.
    type: str
  reason:
    description:
      - Why the migration may be marked, for those who find it later. It is returned and written to the journal.
    type: str
    required: true
  accept_difference:
    description:
      - Whether to mark the migration although what exists is another thing than it would make, or although that cannot be told from its file.
    type: bool
    default: false
  database:
    description:
      - Mark the version in this database only, by the name of its connection, such as V(ci).
      - By default it is marked in the database that O(error_text) names, or else in each database where it is down.
    type: str
seealso:
  - module: gitlab_fleet.upgrade.db_migrate_status
  - name: GitLab documentation on restoring after a failed upgrade
    description: Where GitLab describes the error and the task.
    link: https://docs.gitlab.com/update/restore_after_failure/
"""

EXAMPLES = r"""
---
- name: See what would be marked, and what the object looks like
  gitlab_fleet.upgrade.mark_migration_complete:
    error_text: "{{ migrate.output }}"
    reason: lfs_objects was left over by the restore of 2026-11-20 and is identical to that of a new installation
  check_mode: true
  register: mark

- name: Mark it
  gitlab_fleet.upgrade.mark_migration_complete:
    version: "20151103134857"
    reason: lfs_objects was left over by the restore of 2026-11-20 and is identical to that of a new installation

- name: Mark a version in the ci database only
  gitlab_fleet.upgrade.mark_migration_complete:
    version: "20151103134857"
    database: ci
    reason: the table is in ci since the databases were split
"""

RETURN = r"""
version:
  description: The version.
  type: str
  returned: success
  sample: "20151103134857"
name:
  description: The migration's name, as Rails prints it.
  type: str
  returned: success
  sample: Create lfs objects
kind:
  description: Whether it is V(regular) or V(post_deployment).
  type: str
  returned: success
  sample: regular
reason:
  description: The reason that was given.
  type: str
  returned: success
  sample: the table was left over by the restore
databases:
  description: The state of the version in each database of the instance, before and after; in check mode, as it would be after.
  type: list
  elements: dict
  returned: success, and when the version was not marked everywhere
  contains:
    name:
      description: The name of the database's connection.
      type: str
      sample: main
    before:
      description: V(up) or V(down).
      type: str
      sample: down
    after:
      description: V(up) or V(down).
      type: str
      sample: up
existing_object:
  description: The object that O(error_text) says exists already. With O(version), the first table that the migration makes; null if it makes none.
  type: dict
  returned: success
  contains:
    kind:
      description: PostgreSQL's word for it.
      type: str
      sample: relation
    name:
      description: Its name; null where the migration's file does not say it plainly.
      type: str
      sample: lfs_objects
    table:
      description: The table it belongs to, if the error names one.
      type: str
      sample: null
    relations:
      description:
        - The table, index, view or sequence in each database where the version is down, and every other table that the migration makes there;
          empty for other kinds of objects.
        - C(comparison) says of a table whether it has every column that the migration makes (C(same), with those that it has beside them in C(extra)),
          lacks some (C(different)), or the migration's file does not say (C(unknown)).
      type: list
      elements: dict
      sample:
        - database: main
          name: lfs_objects
          schema: public
          kind: table
          size_bytes: 24576
          columns:
            - name: id
              type: integer
              nullable: false
              default: nextval('lfs_objects_id_seq'::regclass)
            - name: oid
              type: character varying
              nullable: false
              default: null
          indexes:
            - CREATE UNIQUE INDEX index_lfs_objects_on_oid ON public.lfs_objects USING btree (oid)
          constraints:
            - lfs_objects_pkey PRIMARY KEY (id)
          comparison:
            result: same
            differences: []
            extra: []
    unclear:
      description: Why it cannot be told whether what exists is what the migration makes; empty when it can.
      type: list
      elements: str
      sample: []
journal:
  description: The file on the host where the mark is recorded; null if nothing was marked.
  type: str
  returned: success
  sample: /var/lib/gitlab_fleet_upgrade/marked.jsonl
commands:
  description: The commands that were run, and in check mode those that would be run, as lists of arguments.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-rake, "gitlab:db:mark_migration_complete[20151103134857]"]
"""

import datetime
import getpass
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _catalog,
    _create_table,
    _rake,
    _schema_migrations,
    _state,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause, ExistingObject, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import (
    DOWN,
    UP,
    MigrationFile,
    find_file,
)

JOURNAL = "marked.jsonl"

# What an error calls the kind of object when a table is meant, or may be.
TABLES = frozenset({"relation", "table"})


class Wish(t.NamedTuple):
    """What is to be marked, and the evidence for it."""

    version: str
    # The databases, by name; None for each where it is down.
    databases: list[str] | None
    # What an error text names.
    existing_object: ExistingObject | None


def read_wish(params: t.Mapping[str, t.Any], instance: Instance) -> Wish:
    version, database, existing = params["version"], params["database"], None
    if params["error_text"] is not None:
        diagnosis = diagnose(params["error_text"])
        if diagnosis.cause is not Cause.OBJECT_EXISTS or diagnosis.migration_version is None:
            raise GitLabError(
                "error_text does not tell which migration failed because its object exists already. "
                f"{diagnosis.summary} {diagnosis.meaning}",
                f"{diagnosis.remedy} Marking a migration complete is no answer to any other failure; for this one give the whole"
                " output of gitlab_fleet.upgrade.db_migrate (its result's output).".lstrip(),
                diagnosis=diagnosis.to_dict(),
            )
        version, existing = diagnosis.migration_version, diagnosis.existing_object
        database = database or diagnosis.database
    names = [instance.topology.find(database).name] if database else None
    return Wish(_schema_migrations.parse_version(version), names, existing)


def read_states(instance: Instance, file: MigrationFile) -> dict[str, str]:
    """Return whether the migration is up or down, by database."""
    states = {}
    for session in instance.sessions():
        applied = {_schema_migrations.normalize_version(row) for row in _schema_migrations.read_versions(session)}
        states[session.name] = UP if file.version in applied else DOWN
    return states


def look_at(
    named: ExistingObject | None, instance: Instance, names: list[str], version: str
) -> dict[str, t.Any] | None:
    """Return what there is in the databases ``names`` of all that the migration makes; None where it makes no table.

    ``named`` is the object that an error names.

    :raises GitLabError: the named one is not there.
    """
    source = _create_table.read_source(instance.installation.rails_root, version)
    tables = list(_create_table.parse(source))
    if named is None and source and not tables and _create_table.says_all(source):
        return None
    existing = named or ExistingObject("table", tables[0] if tables else None)
    relation = _catalog.looked_at(existing)
    wanted = list(dict.fromkeys([*([relation] if relation else []), *tables]))
    relations: list[dict[str, t.Any]] = []
    for name in names:
        for table in wanted:
            found = _catalog.describe_relation(instance.session(name), table)
            if named and table == relation and _catalog.disproves(named, found):
                raise GitLabError(
                    f"error_text says that the {named.kind} {named.name} exists, but the database {name} has none.",
                    "The text is of another instance, another database (then give database) or another time. "
                    "Run gitlab_fleet.upgrade.db_migrate and use what it says now.",
                    database=name,
                )
            comparison = _create_table.compare(source, table, found["columns"] if found else None)
            relations.append({"database": name, "name": table, **(found or {}), "comparison": comparison.to_dict()})
    return {
        "kind": existing.kind,
        "name": existing.name,
        "table": existing.table,
        "relations": relations,
        "unclear": unclear(existing, relations, source) if names else [],
    }


def unclear(existing: ExistingObject, relations: list[dict[str, t.Any]], source: str) -> list[str]:
    """Return what nobody but a person can compare."""
    texts = [
        text
        for relation in relations
        if relation["comparison"]["result"] == _create_table.UNKNOWN
        for text in relation["comparison"]["differences"]
    ]
    if existing.kind not in TABLES:
        texts.append(f"The migration's file is not compared with an existing {existing.kind}.")
    if not source:
        texts.append("The migration's file cannot be read.")
    if not _create_table.says_all(source):
        texts.append("The migration's file makes a table in a way that does not say plainly which columns it gets.")
    return list(dict.fromkeys(texts))


def refuse_another_table(existing: t.Mapping[str, t.Any], version: str) -> None:
    """Refuse what is not, or cannot be seen to be, what the migration would make."""
    for relation in existing["relations"]:
        comparison = relation["comparison"]
        if comparison["result"] == _create_table.DIFFERENT:
            raise GitLabError(
                f"{relation['name']} in the database {relation['database']} is not the table that migration {version} makes:"
                f" {'; '.join(comparison['differences'])}. Marked complete, later migrations or GitLab itself would fail at it.",
                "If nothing is in it, drop it and run db:migrate again; or restore into an empty database (database_clean)."
                " accept_difference: true marks it all the same.",
                existing_object=dict(existing),
            )
    if existing["unclear"]:
        raise GitLabError(
            f"It cannot be told whether what exists is what migration {version} makes. {' '.join(existing['unclear'])}",
            "Compare existing_object with the same object of a new installation of this version. If they are the same,"
            " set accept_difference: true; if not, restore into an empty database (database_clean).",
            existing_object=dict(existing),
        )


def states_as_results(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "before": state, "after": after[name]} for name, state in before.items()]


def mark(
    instance: Instance, file: MigrationFile, reason: str, down: list[str], plan: list[list[str]], before: dict[str, str]
) -> tuple[dict[str, str], str]:
    """Run ``plan`` and return the states after it, and the path of the journal."""
    entry = {
        "version": file.version,
        "name": file.name,
        "databases": down,
        "reason": reason,
        "user": os.environ.get("SUDO_USER") or getpass.getuser(),
    }

    def note(event: str) -> str:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        return _state.append_journal(JOURNAL, {"time": now, "event": event, **entry})

    note("begin")
    results = [instance.runner.run(argv, cwd=instance.installation.working_directory) for argv in plan]
    after = read_states(instance, file)
    late = [name for name in down if after[name] == DOWN]
    journal = note("not marked" if late else "marked")
    if late:
        output = "\n".join(result.output for result in results)
        diagnosis = diagnose(output)
        raise GitLabError(
            f"GitLab did not mark {file.version} in {', '.join(late)}: there is no row. {diagnosis.summary} "
            f"{diagnosis.meaning}",
            diagnosis.remedy or "Run this again, and look at the output.",
            changed=after != before,
            databases=states_as_results(before, after),
            diagnosis=diagnosis.to_dict(),
            output=output,
        )
    return after, journal


def run(module: AnsibleModule) -> dict[str, t.Any]:
    reason = module.params["reason"].strip()
    if not reason:
        raise GitLabError(
            "reason is empty.", "Say why what exists is what the migration makes; it is kept for those who ask later."
        )
    instance = Instance(module)
    wish = read_wish(module.params, instance)
    files = _schema_migrations.migration_files(instance.installation.rails_root)
    file = find_file(files, wish.version)
    before = read_states(instance, file)
    down = [name for name, state in before.items() if state == DOWN and (not wish.databases or name in wish.databases)]

    existing = look_at(wish.existing_object, instance, down, file.version)
    if existing and not module.params["accept_difference"]:
        refuse_another_table(existing, file.version)
    tasks = _schema_migrations.mark_tasks(instance.topology, down) if down else []
    plan = [instance.installation.rake(_rake.task(task, [file.version])) for task in tasks]

    commands = instance.runner.commands
    journal = None
    if down and not module.check_mode:
        after, journal = mark(instance, file, reason, down, plan, before)
    else:
        after = {**before, **dict.fromkeys(down, UP)}
        commands = commands + plan
    return {
        "changed": after != before,
        "version": file.version,
        "name": file.name,
        "kind": file.kind,
        "reason": reason,
        "databases": states_as_results(before, after),
        "existing_object": existing,
        "journal": journal,
        "commands": commands,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            version={"type": "str"},
            error_text={"type": "str"},
            reason={"type": "str", "required": True},
            database={"type": "str"},
            accept_difference={"type": "bool", "default": False},
        ),
        mutually_exclusive=[("version", "error_text")],
        required_one_of=[("version", "error_text")],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
