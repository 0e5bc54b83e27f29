#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_status
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Show the batched background migrations of a GitLab instance
description:
  - Reads every batched background migration of every database of an instance, with its progress, pace, remaining time, what holds it up,
    and its last error. Says whether the instance may be upgraded, and if not, why.
  - Asks each database once, in one read-only snapshot. Boots no Rails, and stays cheap with millions of jobs.
  - Works with GitLab 13.11 and later.
  - With O(database_backend=gitlab-psql), and where the connection allows it, the controller reads the host's answer itself, which is
    several times faster and needs no Python on the host. The result is the same.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.info_module
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  action:
    support: full
  async:
    support: none
options:
  database:
    description:
      - Show only the migrations of these databases, by the name of a connection (V(main), V(ci), V(sec)).
      - A name that shares another's database shows what is in that database.
    type: list
    elements: str
  state:
    description:
      - Show only the migrations in these states. V(unfinished) stands for all that block an upgrade.
    type: list
    elements: str
    choices: [paused, active, finished, failed, finalizing, finalized, unfinished]
  job_class_name:
    description: Show only the migrations of this class, as it is in the database, for example V(BackfillNamespaceIdForNamespaceRoute).
    type: str
  table_name:
    description: Show only the migrations of this table.
    type: str
  migrations:
    description:
      - Show only the migrations with these ids, for example V(main_85).
      - An id that does not exist is an error.
    type: list
    elements: str
notes:
  - The options that select migrations narrow only RV(migrations). Everything else, above all RV(safe_to_upgrade), is about all of them.
  - Progress is counted in tuples, or in keys of the table, never in jobs, since GitLab creates the jobs as it goes.
seealso:
  - module: gitlab_fleet.upgrade.bbm_finalize
  - module: gitlab_fleet.upgrade.bbm_wait
"""

EXAMPLES = r"""
---
- name: Read all batched background migrations
  gitlab_fleet.upgrade.bbm_status:
  become: true
  register: migrations

- name: Stop if the instance may not be upgraded
  ansible.builtin.assert:
    that: migrations.safe_to_upgrade
    fail_msg: "{{ migrations.reasons | join('; ') }}"

- name: Ask GitLab itself what waits in Sidekiq, with Redis on another host and GitLab up to 15.0
  gitlab_fleet.upgrade.background_migrations:
  become: true
  register: older

- name: Stop if anything else keeps the instance from being upgraded
  ansible.builtin.assert:
    that:
      - migrations.reasons | difference(migrations.unasked) | length == 0
      - older.reasons | length == 0
    fail_msg: "{{ (migrations.reasons | difference(migrations.unasked) + older.reasons) | join('; ') }}"

- name: Show what is unfinished in the database ci
  gitlab_fleet.upgrade.bbm_status:
    database: [ci]
    state: [unfinished]
  become: true

- name: Ask an external database from the controller
  gitlab_fleet.upgrade.bbm_status:
    database_backend: psycopg2
    login_host: postgres.example.com
    login_password: "{{ vault_gitlab_database_password }}"
    databases:
      main: gitlabhq_production
  delegate_to: localhost
"""

RETURN = r"""
gitlab_version:
  description: The version of the installed code; null if it is not on the host that was asked.
  type: str
  returned: success
  sample: 14.2.7-ee
databases:
  description: The physical databases, main first.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The database's name in GitLab.
      type: str
      sample: main
    dbname:
      description: Its name in PostgreSQL.
      type: str
      sample: gitlabhq_production
    connections:
      description: The names of all connections that lead to it.
      type: list
      elements: str
      sample: [main, ci]
    migrations:
      description: The number of migrations by state.
      type: dict
      sample: {finished: 41, active: 2}
    schema_migrations_down:
      description:
        - The versions of the installed code's schema migrations that are down, without their names; M(gitlab_fleet.upgrade.db_migrate_status) tells more.
        - Null if GitLab's code is not on the host that was asked, so that nothing can be said; that is one of RV(reasons).
      type: list
      elements: str
      sample: ['20210707210916']
migrations:
  description: The migrations that were selected, by database and row.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The database's name and the row's id.
      type: str
      sample: main_85
    database:
      description: The database whose table holds the row.
      type: str
      sample: main
    row_id:
      description: The row's id.
      type: int
      sample: 85
    job_class_name:
      description: The migration's class.
      type: str
      sample: CopyColumnUsingBackgroundMigrationJob
    table_name:
      description: The table that it works on.
      type: str
      sample: push_event_payloads
    column_name:
      description: The column that it walks along.
      type: str
      sample: event_id
    job_arguments:
      description: Its further arguments.
      type: list
      elements: raw
      sample: [[event_id], [event_id_convert_to_bigint]]
    gitlab_schema:
      description: GitLab's schema of the table; null before 15.0.
      type: str
      sample: gitlab_main
    status:
      description: The state's number.
      type: int
      sample: 1
    state:
      description: The state's name; C(unknown_) and the number for one that this collection does not know.
      type: str
      sample: active
    created_at:
      description: When it was queued.
      type: str
      sample: '2026-11-20T07:22:44Z'
    started_at:
      description: When it was set active; null in old versions.
      type: str
      sample: '2026-11-20T07:22:44Z'
    finished_at:
      description: When it finished; null in old versions.
      type: str
      sample: null
    updated_at:
      description: When the row changed last.
      type: str
      sample: '2026-11-20T08:40:01Z'
    on_hold_until:
      description: Until when GitLab holds it back, in the past if it does not.
      type: str
      sample: null
    interval_seconds:
      description: The time between two batches.
      type: int
      sample: 120
    batch_size:
      description: The size of the next batch, in tuples.
      type: int
      sample: 20000
    sub_batch_size:
      description: The size of one update, in tuples.
      type: int
      sample: 1000
    queued_migration_version:
      description: The schema migration that queued it; null before 16.5.
      type: str
      sample: '20240321051307'
    progress:
      description: How far it is.
      type: dict
      contains:
        percent:
          description: From 0 to 100, rounded down; null if it cannot be told.
          type: float
          sample: 42.17
        done_tuples:
          description: The tuples of the succeeded batches; null if they are too many to be added up.
          type: int
          sample: 5060000
        total_tuples:
          description: GitLab's estimate of all tuples.
          type: int
          sample: 12000000
        basis:
          description: What the percentage is made of, V(tuples), V(key_range) (how far the keys of the table are covered) or V(finished).
          type: str
          sample: tuples
    rate:
      description: Tuples each second of the last batches, pauses included; null if it does not move.
      type: float
      sample: 812.5
    eta_seconds:
      description: The seconds that are left at that pace; null if there is no estimate.
      type: int
      sample: 8542
    eta_basis:
      description: What the estimate rests on, or why there is none; null for what is done.
      type: str
      sample: 6940000 of 12000000 tuples left at 812.5 tuples/s, as the last 19 jobs in 41 min
    jobs:
      description: The number of jobs by state; null for what is done, whose jobs are not asked.
      type: dict
      contains:
        pending:
          description: Jobs that wait.
          type: int
          sample: 0
        running:
          description: Jobs that run, or that a killed worker left.
          type: int
          sample: 1
        failed:
          description: Jobs that failed.
          type: int
          sample: 0
        succeeded:
          description: Jobs that succeeded; null if more than 10000.
          type: int
          sample: 253
        exhausted:
          description: Failed jobs that have no attempt left.
          type: int
          sample: 0
        counted:
          description: Whether the succeeded ones were counted.
          type: bool
          sample: true
    newest_job:
      description: The job with the highest id; null without jobs and for what is done.
      type: dict
      sample:
        id: 4711
        status: 3
        attempts: 1
        min_value: 5040001
        max_value: 5060000
        min_cursor: null
        max_cursor: null
        batch_size: 20000
        sub_batch_size: 1000
        created_at: '2026-11-20T08:38:00Z'
        started_at: '2026-11-20T08:38:00Z'
        finished_at: '2026-11-20T08:38:21Z'
        updated_at: '2026-11-20T08:38:21Z'
    last_activity:
      description: When a job changed last; without jobs when the migration was started; for what is done when it finished, if that is known.
      type: str
      sample: '2026-11-20T08:38:21Z'
    last_error:
      description: The newest error of a job that has not succeeded; null without one, and in versions without a transition log.
      type: dict
      contains:
        job_id:
          description: The job's id.
          type: int
          sample: 4712
        exception_class:
          description: The error's class.
          type: str
          sample: ActiveRecord::QueryCanceled
        exception_message:
          description: The error's text.
          type: str
          sample: 'PG::QueryCanceled: ERROR:  canceling statement due to statement timeout'
        at:
          description: When it happened.
          type: str
          sample: '2026-11-20T08:38:21Z'
    stalled:
      description: Whether it does not move. A migration that waits for its turn is not stalled.
      type: bool
      sample: false
    stalled_reasons:
      description: Why it does not move.
      type: list
      elements: str
      sample: []
unfinished:
  description: The ids of all migrations that are neither finished nor finalized.
  type: list
  elements: str
  returned: success
  sample: [main_85]
blocking:
  description: The ids of all unfinished migrations that block an upgrade, which are all but those that RV(notes) tells of.
  type: list
  elements: str
  returned: success
  sample: [main_85]
rolling_back:
  description:
    - The backup that the instance is being rolled back to, when a rollback began and did not get to its end; null when there is none.
    - The databases can then be empty or half restored, or nodes have another version; RV(safe_to_upgrade) is false.
  type: str
  returned: success
  sample: null
unproven:
  description:
    - The ids of all migrations that are marked finished although nothing shows that they ran, on a table that has rows.
      GitLab 18.5 to 18.9 skipped migrations of tables with one row; 18.10 runs them again.
  type: list
  elements: str
  returned: success
  sample: []
by_state:
  description: The ids of all migrations by state.
  type: dict
  returned: success
  sample: {finished: [main_83, main_84], active: [main_85]}
scheduler:
  description:
    - The settings that decide whether migrations run by themselves. RV(scheduler.max_running) is null in versions without it.
    - For a feature flag, C(enabled) is null if this version does not have it, or if it is on for some only; C(set) tells whether somebody set it.
  type: dict
  returned: success
  contains:
    execute_batched_migrations_on_schedule:
      description: Whether batches are started at all.
      type: dict
      sample: {enabled: true, set: false}
    optimize_batched_migrations:
      description: Whether the batch size follows the pace. Always on from 18.4.
      type: dict
      sample: {enabled: true, set: false}
    batched_migrations_parallel_execution:
      description: Whether several migrations run side by side. Always on from 16.1.
      type: dict
      sample: {enabled: true, set: false}
    disallow_database_ddl_feature_flags:
      description: Whether all batched background migrations are stopped.
      type: dict
      sample: {enabled: false, set: false}
    max_running:
      description: How many run side by side in one database.
      type: int
      sample: 2
background_migrations:
  description:
    - The background migrations of the older, non-batched kind that are not done, as far as that can be told without Rails;
      M(gitlab_fleet.upgrade.background_migrations) tells more.
  type: dict
  returned: success
  contains:
    pending:
      description: The number of pending tracked rows by class.
      type: dict
      sample: {BackfillDraftStatusOnMergeRequests: 3}
    total:
      description: The number of those in RV(background_migrations.pending).
      type: int
      sample: 3
    in_sidekiq:
      description:
        - Up to GitLab 15.0 the number of messages that wait in Sidekiq, of which many classes keep no row, as C(queued), C(scheduled) and
          C(retrying) (failed, and to be tried again).
        - Null where Redis could not be asked, see RV(unasked), and from 15.1 on.
      type: dict
      sample: {queued: 0, scheduled: 3, retrying: 0}
safe_to_upgrade:
  description:
    - Whether it is proven that nothing blocks an upgrade. What could not be read counts as blocking.
    - Where GitLab's code is not on the host that was asked, as when the controller asks an external database, nobody can say whether
      schema migrations are down, so that this is never true; see RV(databases[].schema_migrations_down).
  type: bool
  returned: success
  sample: false
reasons:
  description: What blocks an upgrade.
  type: list
  elements: str
  returned: success
  sample:
    - >-
      1 batched background migration is active: CopyColumnUsingBackgroundMigrationJob on push_event_payloads (main_85);
      wait for them (bbm_wait) or finalize them (bbm_finalize)
unasked:
  description:
    - What could not be asked in this way, and who can ask it. Each is also one of RV(reasons), and there alone it keeps RV(safe_to_upgrade)
      false however often this is run.
    - Up to GitLab 15.0, Redis is asked where it is on the host that was asked, has no password, and no C(routing_rules) are set. Elsewhere
      M(gitlab_fleet.upgrade.background_migrations) must be run, and what it says taken in place of this.
  type: list
  elements: str
  returned: success
  sample: []
notes:
  description: What is unfinished and yet no reason, since GitLab says that it can be ignored in this version.
  type: list
  elements: str
  returned: success
  sample: []
read_at:
  description: When this was true, by the database's clock.
  type: str
  returned: success
  sample: '2026-11-20T08:40:07Z'
commands:
  description: The commands that asked.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-psql, -X, -q, -t, -A, -P, pager=off, -v, ON_ERROR_STOP=1, -d, gitlabhq_production, -f, '-']
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_reading import argument_spec, read_status
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        module.exit_json(**read_status(module))
    except GitLabError as error:
        module.fail_json(**error.to_result())


if __name__ == "__main__":
    main()
