#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_retry
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Retry failed batched background migrations of GitLab
description:
  - Does what C(Retry) in GitLab's Admin area does, for one failed migration, several or all. Each failed job gets new attempts, and is split in
    two where it can be; the migration is active again, and Sidekiq goes on with it.
  - Shows the error of each failed job first. What failed for a reason fails again for the same reason, so look at them in check mode.
  - A migration that has not failed is refused. GitLab before 16.0 would take even a finished one back to work.
  - Boots Rails once, for however many migrations. Proves the outcome by the rows before and after.
  - GitLab 14.3 and later.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade.migration
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(all=true), a second run finds nothing to retry, unless something failed again. A migration that is named and has not failed is
        an error.
options:
  migrations:
    description: The ids of several failed migrations. When one of them has not failed, none is retried.
    type: list
    elements: str
  all:
    description: Retry all failed migrations of all databases.
    type: bool
seealso:
  - module: gitlab_fleet.upgrade.bbm_wait
  - module: gitlab_fleet.upgrade.bbm_finalize
  - name: GitLab documentation on batched background migrations
    description: How to retry a failed one by hand.
    link: https://docs.gitlab.com/update/background_migrations/
"""

EXAMPLES = r"""
---
- name: Show why migrations failed
  gitlab_fleet.upgrade.bbm_retry:
    all: true
  check_mode: true
  register: failed

- name: Retry all failed migrations
  gitlab_fleet.upgrade.bbm_retry:
    all: true

- name: Retry one
  gitlab_fleet.upgrade.bbm_retry:
    migration: ci_10

- name: Retry two with one Rails boot
  gitlab_fleet.upgrade.bbm_retry:
    migrations: [main_84, ci_10]
"""

RETURN = r"""
migrations:
  description: The failed migrations that were chosen, main first.
  type: list
  elements: dict
  returned: success, and when one could not be retried
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
      sample: {id: 85, status: 4, state: failed}
    after:
      description: Its row as it was left; in check mode with the state that it would have.
      type: dict
      sample: {id: 85, status: 1, state: active}
    changed:
      description: Whether it was retried, or would be in check mode.
      type: bool
      sample: true
    failed_jobs:
      description: The jobs that had failed, at most a hundred of them, with the newest error of each (from GitLab 14.10 on).
      type: list
      elements: dict
      sample:
        - id: 4712
          state: failed
          attempts: 3
          batch_size: 20000
          min_value: 5040001
          max_value: 5060000
          min_cursor: null
          max_cursor: null
          error:
            exception_class: ActiveRecord::QueryCanceled
            exception_message: 'PG::QueryCanceled: ERROR:  canceling statement due to statement timeout'
            at: '2026-11-20T08:38:21.123'
    jobs_before:
      description: How many jobs were pending, running and failed; C(exhausted) are the failed ones without an attempt left.
      type: dict
      sample: {pending: 0, running: 0, failed: 1, exhausted: 1}
    jobs_after:
      description: The same at the end; null in check mode.
      type: dict
      sample: {pending: 0, running: 0, failed: 2, exhausted: 0}
    error:
      description: Why it was not retried; null when it was.
      type: str
      sample: null
commands:
  description: The command that retries, as it was run or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: success, and when one could not be retried
  sample: [[/opt/gitlab/bin/gitlab-rails, runner, -e, production, '...']]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _bbm_change,
    _bbm_choice,
    _bbm_state,
    _ruby_bbm,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    ACTIVE,
    FAILED,
    FINISHED,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Selection, select
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec

WAYS = (*_bbm_choice.WAYS, "migrations", "all")


def chosen(params: t.Mapping[str, t.Any], instance: Instance) -> list[BatchedMigration]:
    """Return the failed migrations that are meant.

    :raises GitLabError: what is named does not exist, or has not failed.
    """
    database = instance.topology.find(params["database"]).name if params["database"] else None
    migrations = _bbm_change.read_all(instance)
    if params["all"]:
        return [one for one in select(Selection(database=database), migrations) if one.status == FAILED]
    if params["migrations"] is not None:
        named: Selection | None = Selection(database=database, ids=tuple(params["migrations"]))
    else:
        named = _bbm_choice.named({**params, "database": database})
    if named is None:
        raise GitLabError(
            "Nothing says which migrations are to be retried.",
            "Give migration, migrations, job_class_name with its companions, or all: true.",
        )
    found = select(named, migrations)
    for one in found:
        _bbm_state.refuse_retry(one)
    return found


def run(module: AnsibleModule) -> dict[str, t.Any]:
    instance = Instance(module)
    migrations = chosen(module.params, instance)
    if not migrations:
        return _bbm_change.result([], [])
    _bbm_state.refuse_version(instance.version)
    jobs = {one.id: _bbm_change.read_open_jobs(instance, one) for one in migrations}
    argv = _bbm_change.command(instance, _ruby_bbm.RETRY, migrations)
    done = None if module.check_mode else _bbm_change.run(instance, argv)

    results = []
    errors = []
    for one in migrations:
        after = ACTIVE if done is None else _bbm_change.read_again(instance, one)
        entry = _bbm_change.describe(one, after)
        left = None if done is None else _bbm_change.read_open_jobs(instance, one)
        entry.update(
            failed_jobs=[job for job in jobs[one.id].shown if job["state"] == "failed"],
            jobs_before=jobs[one.id].counts,
            jobs_after=left and left.counts,
            error=None,
        )
        # Sidekiq may have gone on already, and even finished it.
        if (
            done is not None
            and left is not None
            and (entry["after"]["status"] not in (ACTIVE, FINISHED) or left.exhausted)
        ):
            why = _bbm_change.explain(done, one.id)
            entry["error"] = (
                f"{one.label} is {entry['after']['state']}, with {left.exhausted} failed job{'' if left.exhausted == 1 else 's'}"
                f" without an attempt left. {why.msg}"
            )
            errors.append(GitLabError(entry["error"], why.remedy))
        results.append(entry)
    result = _bbm_change.result(results, [argv])
    if errors:
        raise GitLabError(errors[0].msg, errors[0].remedy, **result)
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_bbm_choice.argument_spec(migrations={"type": "list", "elements": "str"}, all={"type": "bool"})
        ),
        mutually_exclusive=[WAYS],
        required_one_of=[WAYS],
        required_together=[_bbm_choice.TOGETHER],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
