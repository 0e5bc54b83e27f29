#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_settings
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Set how GitLab runs its batched background migrations
description:
  - Sets the feature flags and the number that decide whether, and how many, batched background migrations run by themselves.
  - Returns what was stored before, in the shape in which O(restore) takes it, so that what was put away can be put back.
  - With O(remember=true) it keeps what was stored on the host before it sets anything, so that a later O(state=restored) puts exactly that
    back, also when the run that set it broke off in between, wherever that was.
  - Reads by SQL, and boots Rails only if something differs, once. Sets through GitLab's own code, never by SQL, which would leave its caches
    as they are. Proves the outcome by the rows.
  - GitLab's processes follow a flag and the number after about a minute.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  execute_batched_migrations_on_schedule:
    description:
      - Whether Sidekiq starts batches at all. A batch that runs ends.
      - GitLab 13.11 and later.
    type: bool
  optimize_batched_migrations:
    description:
      - Whether the size of a batch follows the pace.
      - GitLab 13.12 to 18.3. It is always on since.
    type: bool
  batched_migrations_parallel_execution:
    description:
      - Whether migrations of different tables run side by side.
      - GitLab 15.7 to 16.0. It is always on since.
    type: bool
  max_running:
    description:
      - How many migrations run side by side in one database (C(database_max_running_batched_background_migrations)). GitLab's default is 2.
      - GitLab 15.7 and later.
    type: int
  state:
    description:
      - V(present) sets what is named, or what O(restore) holds.
      - V(restored) puts back what was remembered, and removes the record once that is proven. Without a record there is nothing to do, and
        nothing is asked.
      - A setting that has a value now which nobody set here is somebody's own; it is left alone and named in RV(left_alone).
    type: str
    choices: [present, restored]
    default: present
  remember:
    description:
      - Keep what was stored in C(/var/lib/gitlab_fleet_upgrade/bbm_settings.json) on the host before it is changed, for O(state=restored).
      - What an earlier record says of a setting stays, since what is stored now may be what that run has set.
    type: bool
    default: false
  restore:
    description:
      - What an earlier call returned as RV(former). Each setting in it gets that value; null removes what is stored for a flag, so that the
        default of the version holds again.
      - A setting that this version has no more, since the instance was upgraded in between, is left alone and named in RV(absent).
    type: dict
seealso:
  - module: gitlab_fleet.upgrade.bbm_state
    description: Pauses single migrations.
  - module: gitlab_fleet.upgrade.bbm_status
    description: Shows these settings, and what they come to.
  - name: GitLab documentation on batched background migrations
    description: What the settings do.
    link: https://docs.gitlab.com/update/background_migrations/
"""

EXAMPLES = r"""
---
- name: Run more migrations side by side for the night
  gitlab_fleet.upgrade.bbm_settings:
    max_running: 4
  register: faster

- name: Put it back
  gitlab_fleet.upgrade.bbm_settings:
    restore: "{{ faster.former }}"

- name: Run more side by side, and keep on the host what was set before
  gitlab_fleet.upgrade.bbm_settings:
    max_running: 4
    remember: true

- name: Put back what was kept, also after a run that broke off
  gitlab_fleet.upgrade.bbm_settings:
    state: restored

- name: Let Sidekiq start no more batches
  gitlab_fleet.upgrade.bbm_settings:
    execute_batched_migrations_on_schedule: false
"""

RETURN = r"""
former:
  description:
    - The settings that were named, as they were stored before, for O(restore). Null is what nobody had set.
    - Keep that of the first call. A second one finds what the first has set.
  type: dict
  returned: success, and when one was not set
  sample: {execute_batched_migrations_on_schedule: null, max_running: 2}
settings:
  description: The same settings as they are stored at the end, or would be in check mode.
  type: dict
  returned: success, and when one was not set
  sample: {execute_batched_migrations_on_schedule: false, max_running: 4}
remembered:
  description: What the record on the host says was stored before; empty without a record. In check mode, this is what was found.
  type: dict
  returned: success
  sample: {max_running: 2}
left_alone:
  description: What was remembered and not put back, since somebody else has set it since.
  type: list
  elements: str
  returned: success
  sample: []
absent:
  description: What O(restore) or the record names and this version does not have.
  type: list
  elements: str
  returned: success, and when one was not set
  sample: []
commands:
  description: The command that sets, as it was run or would be run in check mode. What only reads is left out.
  type: list
  elements: list
  returned: success, and when one was not set
  sample: [[/opt/gitlab/bin/gitlab-rails, runner, -e, production, '...']]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _bbm_change,
    _bbm_settings,
    _rails_runner,
    _ruby_bbm,
    _state,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_settings import (
    MAX_RUNNING,
    NAMES,
    RECORD,
    Record,
    Value,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec

PRESENT = "present"
RESTORED = "restored"


def run(module: AnsibleModule) -> dict[str, t.Any]:
    restoring = module.params["state"] == RESTORED
    wanted = {} if restoring else _bbm_settings.wishes(module.params)
    record = Record.read(_state.read_record(RECORD))
    if restoring and not record.former:
        nothing: dict[str, t.Any] = {"former": {}, "settings": {}, "absent": [], "commands": []}
        return {**nothing, "changed": False, "remembered": {}, "left_alone": [], "diff": {"before": {}, "after": {}}}
    instance = Instance(module)
    main = instance.session("main")
    before = _bbm_settings.read(main)
    if restoring:
        wanted = record.to_put_back(before)
    version = instance.version
    absent = [name for name in wanted if not _bbm_settings.exists(name, version)]
    if not restoring and module.params["restore"] is None:
        for name in absent:
            _bbm_settings.refuse(name, version)
    wanted = {name: value for name, value in wanted.items() if name not in absent}
    todo = _bbm_settings.differences(wanted, before)
    after_record = record
    if restoring:
        after_record = Record()
    elif module.params["remember"]:
        after_record = record.with_change(todo, before)
    if not restoring and not module.check_mode:
        save(record, after_record)
    result = change(module, instance, wanted, before, todo)
    if restoring and not module.check_mode:
        save(record, after_record)
    left_alone = [name for name in record.former if name not in wanted and name not in absent] if restoring else []
    remembered = record if module.check_mode else after_record
    return {**result, "absent": absent, "remembered": dict(remembered.former), "left_alone": left_alone}


def change(
    module: AnsibleModule,
    instance: Instance,
    wanted: t.Mapping[str, Value],
    before: _bbm_settings.Settings,
    todo: t.Mapping[str, Value],
) -> dict[str, t.Any]:
    """Set what is to be done, and prove it.

    :raises GitLabError: the rows are not as they should be.
    """
    former = {name: before.values[name] for name in wanted}
    flags = {name: value for name, value in todo.items() if name != MAX_RUNNING}
    value = {"flags": flags, MAX_RUNNING: todo.get(MAX_RUNNING)}
    argv = _rails_runner.command(instance.installation, _ruby_bbm.SETTINGS, value)
    done = _bbm_change.run(instance, argv) if todo and not module.check_mode else None
    after: t.Mapping[str, Value] = wanted
    if done is not None:
        now = _bbm_settings.read(instance.session("main")).values
        after = {name: now[name] for name in wanted}
    result = {
        "changed": after != former,
        "former": former,
        "settings": after,
        "commands": [argv] if todo else [],
        "diff": {"before": former, "after": after},
    }
    if done is not None and after != wanted:
        why = _bbm_change.explain(done)
        late = ", ".join(name for name in wanted if after[name] != wanted[name])
        raise GitLabError(f"Not set: {late}. {why.msg}", why.remedy, **{**result, **why.details})
    return result


def save(before: Record, after: Record) -> None:
    if after.former and after != before:
        _state.write_record(RECORD, after.to_json())
    elif before.former and not after.former:
        _state.remove_record(RECORD)


def main() -> None:
    options: dict[str, t.Any] = {name: {"type": "int" if name == MAX_RUNNING else "bool"} for name in NAMES}
    module = AnsibleModule(
        argument_spec=argument_spec(
            restore={"type": "dict"},
            state={"type": "str", "choices": [PRESENT, RESTORED], "default": PRESENT},
            remember={"type": "bool", "default": False},
            **options,
        ),
        mutually_exclusive=[("restore", name) for name in NAMES],
        required_if=[("state", PRESENT, (*NAMES, "restore"), True)],
        supports_check_mode=True,
    )
    try:
        _bbm_settings.refuse_options(module.params, RESTORED)
        result = run(module)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
