#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_finalize
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Finish batched background migrations of GitLab in the foreground
description:
  - Finishes one batched background migration, several, or all that are unfinished, and proves it by the row.
  - GitLab's own task prints C(Done.) and exits 0 also for a migration that does not exist, and does nothing for one in a second database.
    This module reads the row before and after, and takes C(gitlab-rails runner) where the task does nothing.
  - A migration that does not exist is an error. A finished one is left alone. A finalized one is never touched.
  - A killed process leaves a job marked as running, for which GitLab's task would wait in a tight loop for up to an hour. When nobody
    works on such a job any more the module says so and frees it. When somebody does, it waits for them.
  - Failed jobs get new attempts first, also on versions before 16.0, where the task itself would not try them again.
  - One migration is finished by GitLab's own task. Several are finished in one process of C(gitlab-rails runner), so that Rails is
    started once for all of them, and migrations of different tables can go side by side (O(parallel)).
  - GitLab 14.0 and older cannot finish a batched background migration in the foreground.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.migration
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
  migrations:
    description:
      - The ids of several migrations. They are finished in the order of O(all), not in that of the list. O(parallel) says how many at a time.
      - When one fails the others are still finished; the task fails in the end.
    type: list
    elements: str
  error_text:
    description:
      - What a command of GitLab printed when it failed with C(Expected batched background migration for the given configuration to be marked
        as 'finished'), in any of its spellings.
    type: str
  all:
    description:
      - Finish all migrations that are neither finished nor finalized, of all databases, main first, in the order of their ids. Failed,
        paused, held and half-finalized ones are among them. O(parallel) says how many at a time.
      - When one fails the others are still finished; the task fails in the end.
    type: bool
  parallel:
    description:
      - How many migrations are finished side by side when several are chosen, from V(1) to V(8). Those of one table go one after another
        in any case, in the order of their ids.
      - V(1) leaves the order and the load of the database as they are, which is right while users work. Unlike GitLab's scheduler, which
        runs two at a time by default, finalize heeds neither intervals nor the health of the database. When the instance is stopped for
        an upgrade, as many as there are idle CPU cores and disks of the database is a good number.
      - It is lowered to what GitLab's pool of database connections has room for, which is 10 or more by default.
    type: int
    default: 1
  orphan_grace:
    description:
      - For how many seconds to watch the sessions of the database before a job counts as abandoned, where other hosts or older processes
        could be working on it.
      - With V(0) nothing is watched, and only those jobs are freed on which nobody can be working.
    type: int
    default: 15
seealso:
  - module: gitlab_fleet.upgrade.bbm_status
  - module: gitlab_fleet.upgrade.db_migrate
  - name: GitLab documentation on batched background migrations
    description: What they are, and how to finish a failed one by hand.
    link: https://docs.gitlab.com/update/background_migrations/
"""

EXAMPLES = r"""
---
- name: Finish the migration that blocks the upgrade
  gitlab_fleet.upgrade.bbm_finalize:
    job_class_name: CopyColumnUsingBackgroundMigrationJob
    table_name: push_event_payloads
    column_name: event_id
    job_arguments: [[event_id], [event_id_convert_to_bigint]]

- name: Finish the migration that GitLab complained about
  gitlab_fleet.upgrade.bbm_finalize:
    error_text: "{{ migrate.output }}"

- name: Finish one by its id
  gitlab_fleet.upgrade.bbm_finalize:
    migration: ci_10

- name: Finish everything that is left, for at most four hours
  gitlab_fleet.upgrade.bbm_finalize:
    all: true
    timeout: 14400

- name: Finish everything that is left while nobody works, four tables at a time
  gitlab_fleet.upgrade.bbm_finalize:
    all: true
    parallel: 4
"""

RETURN = r"""
migrations:
  description: What became of each migration that was chosen, in the order in which they were finished.
  type: list
  elements: dict
  returned: success, and failure of single migrations
  contains:
    id:
      description: The id of the migration.
      type: str
      sample: main_85
    database:
      description: The name of the database that has it.
      type: str
      sample: main
    job_class_name:
      description: Its class.
      type: str
      sample: CopyColumnUsingBackgroundMigrationJob
    table_name:
      description: Its table.
      type: str
      sample: push_event_payloads
    column_name:
      description: Its column.
      type: str
      sample: event_id
    job_arguments:
      description: Its arguments.
      type: list
      elements: raw
      sample: [[event_id], [event_id_convert_to_bigint]]
    before:
      description: Its row as it was found, with the name of its C(status) as C(state).
      type: dict
      sample: {id: 85, status: 1, state: active}
    after:
      description: Its row as it was left; in check mode with the state that it would have.
      type: dict
      sample: {id: 85, status: 3, state: finished}
    changed:
      description: Whether anything was changed, or would be in check mode.
      type: bool
      sample: true
    way:
      description: What finished it, V(rake) or V(runner); null when nothing was run.
      type: str
      sample: rake
    seconds:
      description: How long the commands worked on it.
      type: float
      sample: 73.4
    freed_jobs:
      description: The ids of the jobs that a dead process had left running and that were set to failed.
      type: list
      elements: int
      sample: []
    reset_jobs:
      description: How many failed jobs got new attempts from this module (before GitLab 16.0).
      type: int
      sample: 0
    notes:
      description: What an operator may want to know.
      type: list
      elements: str
      sample: ["It was finished already."]
    log:
      description: The file on the host that has the command's output, of one command for several; null when nothing was run.
      type: str
      sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/finalize-main_85.20261120T072244.1795159793727774464/log
    log_tail:
      description: The end of that output; of one that was finished together with others, the error alone.
      type: str
      sample: "Done.\n"
    error:
      description: Why it was not finished; null when it was.
      type: str
      sample: null
    remedy:
      description: What to do about it.
      type: str
      sample: null
    diagnosis:
      description: The same for programs, with the job's own error as C(last_error).
      type: dict
      sample: null
commands:
  description: The commands that finish migrations, as they were run or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: success, and failure of single migrations
  sample:
    - - /opt/gitlab/bin/gitlab-rake
      - >-
        gitlab:background_migrations:finalize[CopyColumnUsingBackgroundMigrationJob,push_event_payloads,event_id,[["event_id"]\,["event_id_convert_to_bigint"]]]
step:
  description: What to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  contains:
    id:
      description: The id of the migration; of several the first ones.
      type: str
      sample: main_85
    text:
      description: What is waited for, for people; empty while the migration itself is worked on.
      type: str
      sample: ""
    job:
      description: The name of the job on the host; null when somebody else's work is waited for.
      type: str
      sample: finalize-main_85
    directory:
      description: The job's directory on the host.
      type: str
      sample: /var/lib/gitlab_fleet_upgrade/jobs/finalize-main_85
    log:
      description: The job's output on the host.
      type: str
      sample: /var/lib/gitlab_fleet_upgrade/jobs/finalize-main_85/log
    started_at:
      description: When the job began, in seconds of the epoch.
      type: float
      sample: 1795159793.7
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {ids: [main_85]}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_choice, _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Key, Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_many import check_parallel
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalizer import Finalizer
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

WAYS = (*_bbm_choice.WAYS, "migrations", "error_text", "all")


def selection(params: t.Mapping[str, t.Any]) -> Selection:
    """Return what the options choose.

    :raises GitLabError: they choose nothing.
    """
    named = _bbm_choice.named(params)
    if named is not None:
        return named
    if params["migrations"] is not None:
        return Selection(database=params["database"], ids=tuple(params["migrations"]))
    if params["error_text"] is not None:
        return from_error(params["error_text"], params["database"])
    if params["all"]:
        return Selection(database=params["database"])
    raise GitLabError(
        "Nothing says which migrations are to be finished.",
        "Give job_class_name with its companions, migration, migrations, error_text, or all: true.",
    )


def from_error(text: str, database: str | None) -> Selection:
    """Return the migration that GitLab's message names.

    :raises GitLabError: the text is another error, or cut off.
    """
    diagnosis = diagnose(text)
    found = diagnosis.configuration
    if diagnosis.cause is not Cause.BBM_UNFINISHED or found is None:
        raise GitLabError(
            f"error_text is not about an unfinished batched background migration: {diagnosis.summary}",
            diagnosis.remedy or "Give the whole output of the command that failed, or the id that bbm_status shows.",
            diagnosis=diagnosis.to_dict(),
        )
    if not found.complete:
        raise GitLabError(
            "error_text does not name the whole migration; it is probably cut off.",
            "Give the whole output of the command, or the id that bbm_status shows.",
            diagnosis=diagnosis.to_dict(),
        )
    key = Key(*(getattr(found, name) for name in Key._fields))
    return Selection(key=key, database=database or diagnosis.database)


def outcome(finalizer: Finalizer, commands: list[list[str]], diff: bool) -> dict[str, t.Any]:
    """Return the result of work that is over."""
    migrations = finalizer.results()
    result: dict[str, t.Any] = {
        "changed": any(one["changed"] for one in migrations),
        "migrations": migrations,
        "commands": commands,
    }
    if diff:
        result["diff"] = {
            moment: {one["id"]: one[moment]["state"] for one in migrations} for moment in ("before", "after")
        }
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                **_bbm_choice.argument_spec(
                    migrations={"type": "list", "elements": "str"},
                    error_text={"type": "str"},
                    all={"type": "bool"},
                    parallel={"type": "int", "default": 1},
                    orphan_grace={"type": "int", "default": 15},
                )
            )
        ),
        mutually_exclusive=[WAYS],
        required_one_of=[WAYS],
        required_together=[_bbm_choice.TOGETHER],
        supports_check_mode=True,
    )
    memory: dict[str, t.Any] = module.params["memory"] or {}
    try:
        check_parallel(module.params["parallel"])
        instance = Instance(module)
        jobs = Jobs(instance.runner)
        finalizer = Finalizer(
            instance,
            jobs,
            memory,
            orphan_grace=module.params["orphan_grace"],
            parallel=module.params["parallel"],
            check_mode=module.check_mode,
        )
        if not memory:
            finalizer.select(selection(module.params))
        waiting = _long_work.run(finalizer, jobs, module.params)
        if waiting is not None:
            module.exit_json(**_long_work.step_result(waiting, memory))
        result = outcome(finalizer, memory["commands"], module._diff)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    failed = [one for one in result["migrations"] if one["error"]]
    if failed:
        first = GitLabError(failed[0]["error"], failed[0]["remedy"], diagnosis=failed[0]["diagnosis"])
        others = f" ({len(failed) - 1} more failed.)" if len(failed) > 1 else ""
        module.fail_json(**{**result, **first.to_result(), "msg": f"{first}{others}"})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
