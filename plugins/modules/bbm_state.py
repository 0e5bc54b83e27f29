#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_state
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Pause, resume or mark finished batched background migrations of GitLab
description:
  - Pauses batched background migrations, sets paused ones to work again, or marks failed ones finished.
  - Boots Rails once, for however many migrations. When one of them may not be taken to the state, none is touched.
  - GitLab before 16.0 takes a migration from any state to any other, a finished one back to work among it. This module takes V(active)
    to V(paused), V(paused) to V(active) and V(failed) to V(finished), and nothing else.
  - A pause is confirmed as GitLab's page on background migrations says, by no new job. The batch that runs may end.
  - A migration that stays paused blocks the next upgrade.
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
    support: partial
    details:
      - Only with O(state=finished), and only behind O(accept_data_loss) and a proven backup or O(without_backup).
options:
  migrations:
    description: The ids of the migrations, the database's name and the row's number, for example V(main_85).
    type: list
    elements: str
    required: true
  state:
    description:
      - V(paused) for active migrations, V(active) for paused ones. A failed one is set active by M(gitlab_fleet.upgrade.bbm_retry).
      - V(finished) is GitLab's last resort for a failed migration. Its jobs are set to succeeded and itself to finished, and nothing is
        executed. The rows that its jobs did not reach stay as they are, and a later version may drop what they should have been copied from.
    type: str
    choices: [paused, active, finished]
    required: true
  confirm_seconds:
    description:
      - For how many seconds no new job may appear until a pause counts as confirmed.
      - By default the longest interval of the migrations and one minute, by when the next batch of each would have been due.
      - With V(0) nothing is watched, and the pause is not confirmed.
    type: int
  reason:
    description: Why the migrations may be marked finished, for those who ask later. Required with O(state=finished).
    type: str
  accept_data_loss:
    description: That you accept what O(state=finished) can lose.
    type: bool
    default: false
  without_backup:
    description:
      - That O(state=finished) may go on without a proven backup.
      - Without it, there must be a backup on this host that M(gitlab_fleet.upgrade.backup_verify) has verified, that is not older than a day,
        and whose checksum is still the same.
    type: bool
    default: false
notes:
  - What was marked finished is recorded in C(/var/lib/gitlab_fleet_upgrade/marked.jsonl) on the host, with its reason and what was skipped.
seealso:
  - module: gitlab_fleet.upgrade.bbm_settings
  - module: gitlab_fleet.upgrade.bbm_retry
  - module: gitlab_fleet.upgrade.bbm_finalize
  - name: GitLab documentation on batched background migrations
    description: How to pause, resume and mark one finished by hand.
    link: https://docs.gitlab.com/update/background_migrations/
"""

EXAMPLES = r"""
---
- name: Pause a migration, and be sure that it stands still
  gitlab_fleet.upgrade.bbm_state:
    migrations: [main_85]
    state: paused

- name: Set it to work again
  gitlab_fleet.upgrade.bbm_state:
    migrations: [main_85]
    state: active

- name: See what would be skipped if a failed migration were marked finished
  gitlab_fleet.upgrade.bbm_state:
    migrations: [main_85]
    state: finished
    reason: GitLab support, ticket 123456
    accept_data_loss: true
    without_backup: true
  check_mode: true
"""

RETURN = r"""
migrations:
  description: The migrations, in the order in which they were named.
  type: list
  elements: dict
  returned: success, and when one is not in the state at the end
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
      sample: {id: 85, status: 0, state: paused}
    changed:
      description: Whether it was changed, or would be in check mode.
      type: bool
      sample: true
    jobs_before:
      description: How many jobs were pending, running and failed; null if nothing was to be done.
      type: dict
      sample: {pending: 0, running: 1, failed: 0, exhausted: 0}
    confirmed:
      description: With O(state=paused), whether no job appeared; null if that was not watched.
      type: bool
      sample: true
    skipped:
      description: With O(state=finished), what no job has done; null otherwise, and if nothing was to be done.
      type: dict
      contains:
        jobs:
          description: The jobs that had not succeeded, at most a hundred of them, with the newest error of each.
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
              error: null
        job_count:
          description: Their number.
          type: int
          sample: 1
        ranges:
          description:
            - The ranges of the key for which there never was a job, first and last, at most a hundred. Some may hold no rows.
            - Null where GitLab walks by cursors, which cannot be compared.
          type: list
          elements: list
          sample: [[5060001, 12000000]]
        range_count:
          description: Their number; null where they cannot be told.
          type: int
          sample: 1
    error:
      description: Why it is not in the state; null when it is.
      type: str
      sample: null
reason:
  description: The reason that was given.
  type: str
  returned: with O(state=finished)
  sample: GitLab support, ticket 123456
journal:
  description: The file on the host where marks are recorded; null if nothing was marked.
  type: str
  returned: with O(state=finished)
  sample: /var/lib/gitlab_fleet_upgrade/marked.jsonl
commands:
  description: The command that changes, as it was run or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: success, and when one is not in the state at the end
  sample: [[/opt/gitlab/bin/gitlab-rails, runner, -e, production, '...']]
"""

import datetime
import getpass
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _bbm_change,
    _bbm_state,
    _ruby_bbm,
    _state,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import RECENT, Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    ACTIVE,
    FINISHED,
    PAUSED,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec

STATUS = {"paused": PAUSED, "active": ACTIVE, "finished": FINISHED}
JOURNAL = "marked.jsonl"
LOOK_SECONDS = 2


class Change:
    """Takes some migrations to one state."""

    def __init__(self, module: AnsibleModule) -> None:
        self._params: dict[str, t.Any] = module.params
        self._check_mode: bool = module.check_mode
        self._state: str = module.params["state"]
        self._wanted = STATUS[self._state]
        self._instance = Instance(module)

    def run(self) -> dict[str, t.Any]:
        if self._wanted == FINISHED:
            reason, accepted, unproven = (
                self._params[name] for name in ("reason", "accept_data_loss", "without_backup")
            )
            _bbm_state.refuse_finishing(reason, accepted, unproven, _no_backup)
        chosen = _bbm_change.choose(self._instance, self._params["migrations"])
        todo = [one for one in chosen if _bbm_state.needs_change(one, self._wanted)]
        window = _bbm_state.window(self._params["confirm_seconds"], todo)
        entries = {one.id: self._entry(one, one in todo) for one in chosen}
        argv = self._command(todo)
        journal = None
        if todo and not self._check_mode:
            journal = self._change(todo, argv, entries, window)
        result = _bbm_change.result(list(entries.values()), [argv] if todo else [])
        if self._wanted == FINISHED:
            result.update(reason=self._params["reason"].strip(), journal=journal)
        for entry in entries.values():
            if entry["error"]:
                raise GitLabError(entry["error"], "See bbm_status; a run of the same task tries again.", **result)
        return result

    def _entry(self, migration: BatchedMigration, todo: bool) -> dict[str, t.Any]:
        entry = _bbm_change.describe(migration, self._wanted if todo else migration)
        entry.update(jobs_before=None, confirmed=None, skipped=None, error=None)
        if todo:
            jobs = _bbm_change.read_open_jobs(self._instance, migration)
            entry["jobs_before"] = jobs.counts
            if self._wanted == FINISHED:
                entry["skipped"] = self._skipped(migration, jobs)
        return entry

    def _skipped(self, migration: BatchedMigration, jobs: _bbm_change.OpenJobs) -> dict[str, t.Any]:
        session = self._instance.session(migration.database)
        ranges = session.read([_bbm_state.UNCOVERED], row_id=migration.row_id)[_bbm_state.UNCOVERED.name] or {}
        return {
            "jobs": jobs.shown,
            "job_count": jobs.pending + jobs.running + jobs.failed,
            "ranges": ranges.get("shown"),
            "range_count": ranges.get("count"),
        }

    def _command(self, todo: list[BatchedMigration]) -> list[str]:
        if self._wanted == FINISHED:
            return _bbm_change.command(self._instance, _ruby_bbm.MARK_FINISHED, todo)
        return _bbm_change.command(self._instance, _ruby_bbm.SWITCH, todo, state=self._state)

    def _change(
        self, todo: list[BatchedMigration], argv: list[str], entries: dict[str, dict[str, t.Any]], window: int
    ) -> str | None:
        """Run the command, take in what became of each migration, and return the journal if there is one."""
        journal = self._note("begin", todo, entries)
        done = _bbm_change.run(self._instance, argv)
        for one in todo:
            after = self._take_in(one, entries)
            if not self._arrived(after):
                why = _bbm_change.explain(done, one.id)
                entries[one.id]["error"] = f"{one.label} is {after.state}, not {self._state}. {why}"
        arrived = [one for one in todo if not entries[one.id]["error"]]
        if self._wanted == PAUSED:
            self._confirm(arrived, entries, window)
        if len(arrived) < len(todo):
            self._note("not marked", [one for one in todo if one not in arrived], entries)
        return self._note("marked", arrived, entries) if arrived else journal

    def _take_in(self, migration: BatchedMigration, entries: dict[str, dict[str, t.Any]]) -> BatchedMigration:
        after = _bbm_change.read_again(self._instance, migration)
        entries[migration.id].update(_bbm_change.describe(migration, after))
        return after

    def _arrived(self, after: BatchedMigration) -> bool:
        # One that was resumed may have been finished by Sidekiq before it was looked at.
        return after.status == self._wanted or (self._wanted == ACTIVE and after.status == FINISHED)

    def _confirm(self, paused: list[BatchedMigration], entries: dict[str, dict[str, t.Any]], seconds: int) -> None:
        """Watch that no job appears; a worker that had chosen a migration just before the pause has a moment."""
        if not paused or not seconds:
            return
        time.sleep(LOOK_SECONDS)
        newest = {one.id: self._newest(one) for one in paused}
        deadline = time.monotonic() + seconds
        watched = list(paused)
        while watched and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            watched = [one for one in watched if self._newest(one) == newest[one.id]]
        for one in paused:
            after = self._take_in(one, entries)
            entries[one.id]["confirmed"] = one in watched and after.status == PAUSED
            if after.status != PAUSED:
                entries[one.id]["error"] = f"{one.label} was paused, and is {after.state} again: somebody changed it."
            elif one not in watched:
                entries[one.id]["error"] = (
                    f"{one.label} is paused, but the job {self._newest(one)} was made after that: somebody else works on it,"
                    " by a finalize or by execute."
                )

    def _newest(self, migration: BatchedMigration) -> int:
        return _bbm_change.read_open_jobs(self._instance, migration).newest

    def _note(self, event: str, migrations: list[BatchedMigration], entries: dict[str, dict[str, t.Any]]) -> str | None:
        """Record what is marked finished; nothing else is recorded."""
        if self._wanted != FINISHED:
            return None
        path = None
        for one in migrations:
            entry = {
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "event": event,
                "user": os.environ.get("SUDO_USER") or getpass.getuser(),
                "reason": self._params["reason"].strip(),
                "migration": one.id,
                "job_class_name": one.job_class_name,
                "table_name": one.table_name,
                "column_name": one.column_name,
                "job_arguments": one.job_arguments,
                "skipped": entries[one.id]["skipped"],
            }
            path = _state.append_journal(JOURNAL, entry)
        return path


def _no_backup() -> str | None:
    try:
        Store().require(max_age=RECENT)
    except GitLabError as error:
        return error.msg
    return None


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            migrations={"type": "list", "elements": "str", "required": True},
            state={"type": "str", "choices": list(STATUS), "required": True},
            confirm_seconds={"type": "int"},
            reason={"type": "str"},
            accept_data_loss={"type": "bool", "default": False},
            without_backup={"type": "bool", "default": False},
        ),
        required_if=[("state", "finished", ["reason"])],
        supports_check_mode=True,
    )
    try:
        result = Change(module).run()
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
