#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: background_migrations
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Show and clear the older, non-batched background migrations of GitLab
description:
  - Up to GitLab 15.0 there are background migrations beside the batched ones. Each of their jobs is a message for Sidekiq, and some
    classes keep a tracked row for each job besides. Both must be worked off before an upgrade.
  - Counts by class what is pending (rows), what remains (Sidekiq's queue and schedule, as GitLab's own C(remaining) counts it) and what has
    failed (Sidekiq's retry and dead sets). Boots Rails once, since only GitLab knows its Redis; with O(sidekiq=false) not at all.
  - With O(state=cleared) works them off at once, in the order of GitLab's own finalizer. It steals the messages from Sidekiq, re-attempts the tracked
    rows that are still pending, and steals what that left. What fails does not keep other classes from being done.
  - Five classes are known to leave rows that stay pending for ever. Each is recognised, and GitLab's documented remedy, which marks
    their rows as succeeded, is applied only when O(apply_remedies) names the class.
  - It succeeds only when the rows and Redis say that nothing of the chosen classes is left.
  - In 14.8, RV(notes) tells of a failed C(BackfillNamespaceIdForNamespaceRoute), a batched one that can be ignored until 14.9.
  - From GitLab 15.1 on every background migration is batched, see M(gitlab_fleet.upgrade.bbm_status). What an earlier version left over is
    still shown and can be cleared, as far as its classes are there.
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
  state:
    description:
      - V(reported) only reads. V(cleared) works off what is left, which can disturb a busy instance, and take hours.
    type: str
    choices: [reported, cleared]
    default: reported
  classes:
    description:
      - Only these classes, as RV(classes[].class_name) names them. By default all.
    type: list
    elements: str
  sidekiq:
    description:
      - Whether to ask Redis too. With V(false) only the tracked rows are read, no Rails is booted, and RV(cleared) stays unknown.
      - O(state=cleared) always asks it.
    type: bool
    default: true
  retry_dead_jobs:
    description:
      - With O(state=cleared), whether the messages that have failed are tried again, as C(retry_dead_jobs) of GitLab's own C(steal) does.
      - With V(false) they are counted and do not keep a class from being cleared.
    type: bool
    default: true
  apply_remedies:
    description:
      - With O(state=cleared), mark the tracked rows of these classes as succeeded that are still pending at the end.
      - A row is marked only if Sidekiq has no message of its class any more, and if re-attempting it raised no error.
    type: list
    elements: str
    choices:
      - BackfillDraftStatusOnMergeRequests
      - PopulateTopicsTotalProjectsCountCache
      - UpdateVulnerabilityOccurrencesLocation
      - PopulateTopicsNonPrivateProjectsCount
      - ResetDuplicateCiRunnersTokenValuesOnProjects
notes:
  - What Sidekiq is working on is left to it, and as long as it does nothing counts as cleared. In a downtime stop Sidekiq first.
  - A message that fails goes back to Sidekiq's queue, as GitLab's C(steal) does it; Sidekiq, if it runs, tries it again and keeps it in its retry set.
  - A message that was being worked on when the job was killed is in no set any more. It is remembered in
    C(/var/lib/gitlab_fleet_upgrade/background_migrations.json), and the next run begins with it.
seealso:
  - module: gitlab_fleet.upgrade.bbm_status
  - module: gitlab_fleet.upgrade.bbm_wait
  - name: GitLab documentation on background migrations and upgrades
    description: How to check for pending ones, and what to do about those that stick.
    link: https://docs.gitlab.com/update/background_migrations/
"""

EXAMPLES = r"""
---
- name: See what is left of the older background migrations
  gitlab_fleet.upgrade.background_migrations:
  register: older

- name: Stop if anything is left
  ansible.builtin.assert:
    that: older.cleared
    fail_msg: "{{ older.reasons | join('; ') }}"

- name: Read only the tracked rows, without booting Rails
  gitlab_fleet.upgrade.background_migrations:
    sidekiq: false

- name: Work off what is left
  gitlab_fleet.upgrade.background_migrations:
    state: cleared

- name: See what that would run
  gitlab_fleet.upgrade.background_migrations:
    state: cleared
  check_mode: true

- name: Finish one class before the upgrade to 14.5
  gitlab_fleet.upgrade.background_migrations:
    state: cleared
    classes: [MigrateMergeRequestDiffCommitUsers]

- name: Clear all, and mark what is known to stick
  gitlab_fleet.upgrade.background_migrations:
    state: cleared
    apply_remedies: [BackfillDraftStatusOnMergeRequests, PopulateTopicsTotalProjectsCountCache]
"""

RETURN = r"""
gitlab_version:
  description: The version of the installed code.
  type: str
  returned: always, except when it cannot be read
  sample: 14.10.5-ee
classes:
  description: The classes of which anything is left, by database; with O(state=cleared) as they were left.
  type: list
  elements: dict
  returned: success, and when something is left
  contains:
    database:
      description: The name of the database.
      type: str
      sample: main
    class_name:
      description: The class, as rows have it.
      type: str
      sample: BackfillDraftStatusOnMergeRequests
    pending:
      description: Its tracked rows that are pending.
      type: int
      sample: 3
    remaining:
      description: Its messages in Sidekiq's queue and schedule; null if Redis was not asked.
      type: int
      sample: 0
    failed:
      description: Its messages in Sidekiq's retry and dead sets; null if Redis was not asked.
      type: int
      sample: 0
    queued:
      description: Its messages in the queue; null if Redis was not asked.
      type: int
      sample: 0
    scheduled:
      description: Its messages in the schedule; null if Redis was not asked.
      type: int
      sample: 0
    running:
      description: Its messages that Sidekiq is working on right now, which are in none of its sets; null if Redis was not asked.
      type: int
      sample: 0
    retrying:
      description: Its messages in the retry set; null if Redis was not asked.
      type: int
      sample: 0
    dead:
      description: Its messages in the dead set; null if Redis was not asked.
      type: int
      sample: 0
    present:
      description: Whether this version of GitLab has the class, without which nothing can run; null if that was not asked.
      type: bool
      sample: true
    last_error:
      description: The newest error of its failed messages, with C(exception_class), C(exception_message) and C(at); null without one.
      type: dict
      sample: null
    stuck:
      description: What GitLab's documents say of it if it is one of the five that stick, with the remedy; null otherwise.
      type: dict
      sample:
        since: '14.2'
        why: stays pending when the instance has no record that it is about
        remedy: 'apply_remedies: [BackfillDraftStatusOnMergeRequests]'
        documentation: https://docs.gitlab.com/update/versions/gitlab_14_changes/#1420
    finish_before:
      description: The version before which it must be done; null if GitLab names none.
      type: str
      sample: null
totals:
  description: The sums of these classes.
  type: dict
  returned: success, and when something is left
  contains:
    pending:
      description: Their tracked rows that are pending.
      type: int
      sample: 3
    remaining:
      description:
        - Their messages in queues and schedules, without O(classes) by GitLab's own C(remaining).
        - Null if Redis was not asked, or this version has no code for it.
      type: int
      sample: 0
    failed:
      description: Their messages in the retry and dead sets; null likewise.
      type: int
      sample: 0
cleared:
  description: Whether nothing of the chosen classes is left; null with O(sidekiq=false) when no row is pending.
  type: bool
  returned: success, and when something is left
  sample: false
reasons:
  description: What is left of each class, and what to do about it.
  type: list
  elements: str
  returned: success, and when something is left
  sample:
    - >-
      BackfillDraftStatusOnMergeRequests (main): 3 pending; known: it stays pending when the instance has no record that it is about
      (https://docs.gitlab.com/update/versions/gitlab_14_changes/#1420). Run background_migrations with state: cleared and
      apply_remedies: [BackfillDraftStatusOnMergeRequests]
interrupted:
  description: Jobs that a killed run had taken from Sidekiq and has not done; a run with O(state=cleared) begins with them.
  type: list
  elements: dict
  returned: success, and on failure
  sample: []
before:
  description: What was left before, in the form of RV(classes).
  type: list
  elements: dict
  returned: with O(state=cleared), success, and when something is left
  sample: []
attempted:
  description: How many jobs were begun, by class. In check mode how many there are to begin, rows and messages of the same job counted twice.
  type: list
  elements: dict
  returned: with O(state=cleared), success, and when something is left
  sample: [{database: main, class_name: MigrateMergeRequestDiffCommitUsers, jobs: 12}]
marked:
  description: How many rows the documented remedy marked as succeeded, by class. In check mode how many at most.
  type: list
  elements: dict
  returned: with O(state=cleared), success, and when something is left
  sample: [{database: main, class_name: BackfillDraftStatusOnMergeRequests, rows: 3}]
errors:
  description: The jobs that raised an error. A class is given up after three.
  type: list
  elements: dict
  returned: with O(state=cleared), success, and when something is left
  sample:
    - database: main
      class_name: MigrateMergeRequestDiffCommitUsers
      arguments: [1, 4000]
      error_class: ActiveRecord::QueryCanceled
      error_message: 'PG::QueryCanceled: ERROR:  canceling statement due to statement timeout'
seconds:
  description: How long the job ran.
  type: float
  returned: with O(state=cleared), success, and when something is left
  sample: 48.2
log:
  description: The file on the host that has the job's whole output; null in check mode. Its errors are in C(errors) beside it.
  type: str
  returned: with O(state=cleared)
  sample: /var/lib/gitlab_fleet_upgrade/jobs/archive/background_migrations.20261120T072244.1795159793727774464/log
notes:
  description: What an operator may want to know.
  type: list
  elements: str
  returned: success, and when something is left
  sample: []
diagnosis:
  description: Why it failed, for programs.
  type: dict
  returned: failure of a job, or of the command
  sample: {cause: statement_timeout}
commands:
  description:
    - The command that clears, as it was run or would be run in check mode. What only reads is left out, except with O(state=reported).
  type: list
  elements: list
  returned: success, and when something is left
  sample: [[/opt/gitlab/bin/gitlab-rails, runner, -e, production, '...']]
step:
  description: The job to wait for before the next step.
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {id: background_migrations, job: background_migrations, text: ""}
memory:
  description: What the next step needs to know, for O(memory).
  type: dict
  returned: with O(wait=false), when there is more to do
  sample: {watched: true}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _background_migrations as older
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _long_work
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_clear import (
    ClearJob,
    read_interrupted,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_known import STUCK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs


def report(instance: Instance, classes: list[str] | None, sidekiq: bool) -> dict[str, t.Any]:
    """Return the result of C(state=reported)."""
    pending = older.read_pending(instance)
    argv = older.count_command(instance, pending)
    reading = older.merge(instance.topology, pending, older.ask(instance, argv) if sidekiq else None)
    again = read_interrupted()
    left = reading.chosen(classes)
    said = older.describe(reading, classes)
    reasons = older.reasons(instance.version, left, True, again) or older.doubt(said["totals"])
    return {
        **said,
        "changed": False,
        # Where Redis was not asked, nobody knows what is in it.
        "cleared": not reasons and (True if sidekiq else None),
        "reasons": reasons,
        "interrupted": again,
        "notes": older.notes(instance.version, reading.engine) + older.ignored_batched(instance),
        "commands": [argv] if sidekiq else [],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            **_long_work.argument_spec(
                state={"type": "str", "choices": ["reported", "cleared"], "default": "reported"},
                classes={"type": "list", "elements": "str"},
                sidekiq={"type": "bool", "default": True},
                retry_dead_jobs={"type": "bool", "default": True},
                apply_remedies={"type": "list", "elements": "str", "choices": list(STUCK)},
            )
        ),
        supports_check_mode=True,
    )
    memory: dict[str, t.Any] = module.params["memory"] or {}
    known: dict[str, t.Any] = {}
    try:
        instance = Instance(module)
        known["gitlab_version"] = str(instance.version)
        classes = older.class_names(module.params["classes"])
        remedies = list(dict.fromkeys(module.params["apply_remedies"] or []))
        if module.params["state"] == "reported":
            if remedies:
                raise GitLabError("apply_remedies changes rows, and state: reported only reads.", "Set state: cleared.")
            result = report(instance, classes, module.params["sidekiq"])
            module.exit_json(**known, **result)
        jobs = Jobs(instance.runner)
        work = ClearJob(instance, jobs, memory, classes, remedies, module.params["retry_dead_jobs"], module.check_mode)
        waiting = _long_work.run(work, jobs, module.params)
    except GitLabError as error:
        module.fail_json(**dict(known, **error.to_result()))
    if waiting is not None:
        module.exit_json(**_long_work.step_result(waiting, memory))
    module.exit_json(**dict(known, **work.result))


if __name__ == "__main__":
    main()
