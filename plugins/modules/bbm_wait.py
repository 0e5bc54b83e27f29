#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is a virtual module: all of it is done by the action plugin of the same name, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: bbm_wait
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Wait until batched background migrations are finished
description:
  - Asks an instance for its batched background migrations, as M(gitlab_fleet.upgrade.bbm_status) does, until the chosen ones are
    finished. Shows each migration's percentage, pace and remaining time while it waits, whenever there is something new.
  - Fails at once when a migration fails, is paused, or is in a state that this collection does not know, and says why when nothing moves any
    more.
  - Changes nothing. It can be stopped and started again at any time, from any controller.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.info_module
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  check_mode:
    support: full
    details:
      - Only reads. In check mode it reads once and does not wait.
  action:
    support: full
  async:
    support: none
options:
  database:
    description:
      - Wait only for the migrations of these databases, by the name of a connection (V(main), V(ci), V(sec)).
    type: list
    elements: str
  job_class_name:
    description: Wait only for the migrations of this class.
    type: str
  table_name:
    description: Wait only for the migrations of this table.
    type: str
  migrations:
    description:
      - Wait only for the migrations with these ids, for example V(main_85).
      - An id that does not exist is an error.
    type: list
    elements: str
  until:
    description:
      - What to wait for.
      - V(finished) waits until they are finished or finalized.
      - V(paused) waits until none of them runs any more, and paused ones have no running job left.
    type: str
    choices: [finished, paused]
    default: finished
  at_most:
    description: Wait only until no more than this number of them are left.
    type: int
    default: 0
  delay:
    description: The seconds between two looks.
    type: int
    default: 30
  timeout:
    description: Give up after this number of seconds; V(0) is never. The migrations go on by themselves.
    type: int
    default: 0
  stall_timeout:
    description:
      - Give up, with the diagnosis, when a migration has been stalled for this number of seconds, or when nothing at all has moved for as
        long. V(0) is never.
      - GitLab holds migrations back for ten minutes at a time when the database is busy, so this should not be less than that.
    type: int
    default: 3600
  deadline:
    description:
      - Give up at this time on the controller's clock, as a time of day (V(06:30), the next one) or as a moment (V(2026-11-21T06:30)).
      - If the estimate lies past it, this is said as soon as it is known.
    type: str
  max_connection_failures:
    description:
      - How many times in a row the instance may not answer, because the connection is lost or the database restarts, before it is
        given up and the task has failed, so that C(rescue) and C(always) run.
      - This does not hold for the first time. A host that cannot be reached then is unreachable.
    type: int
    default: 10
notes:
  - A connection that is cut without a word can block SSH for a long time. Set C(ServerAliveInterval) in C(ansible_ssh_common_args) for
    instances behind such networks.
seealso:
  - module: gitlab_fleet.upgrade.bbm_status
  - module: gitlab_fleet.upgrade.bbm_finalize
"""

EXAMPLES = r"""
---
- name: Wait until the instance may be upgraded, at most until six in the morning
  gitlab_fleet.upgrade.bbm_wait:
    deadline: '06:00'
  become: true

- name: Wait for one migration, and look every ten seconds
  gitlab_fleet.upgrade.bbm_wait:
    migrations: [main_85]
    delay: 10
  become: true

- name: Wait until nothing runs in the database ci, after migrations were paused
  gitlab_fleet.upgrade.bbm_wait:
    database: [ci]
    until: paused
  become: true
"""

RETURN = r"""
waited_for:
  description: The chosen migrations that were unfinished at some time during the wait, as they were seen last.
  type: list
  elements: dict
  returned: when the instance was read
  contains:
    id:
      description: The database's name and the row's id.
      type: str
      sample: main_85
    job_class_name:
      description: The migration's class.
      type: str
      sample: BackfillNamespaceIdForNamespaceRoute
    table_name:
      description: The table that it works on.
      type: str
      sample: routes
    state:
      description: The state's name, or V(deleted) if the row is gone.
      type: str
      sample: finished
    percent:
      description: How far it is; null if that cannot be told.
      type: float
      sample: 100.0
left:
  description: The ids of the migrations that are not yet what was waited for.
  type: list
  elements: str
  returned: when the instance was read
  sample: []
stuck:
  description: The ids of those that were stalled, or all that are left if nothing moved, for O(stall_timeout).
  type: list
  elements: str
  returned: when the instance was read
  sample: []
reached:
  description: Whether what was waited for has happened. Can be false in check mode and on failure.
  type: bool
  returned: when the instance was read, except when it did not answer any more in the end
  sample: true
elapsed_seconds:
  description: How long it waited.
  type: int
  returned: when the instance was read
  sample: 5412
history:
  description: What was seen, from the beginning to the end; for long waits with samples left out, so that it has at most 400 elements.
  type: list
  elements: dict
  returned: when the instance was read
  sample:
    - at: '2026-11-20T08:40:07Z'
      left: 1
      migrations:
        main_85: {state: active, percent: 42.17, rate: 812.5, eta_seconds: 8542, stalled: false}
status:
  description:
    - The result of M(gitlab_fleet.upgrade.bbm_status) at the last look. Its C(migrations) are the chosen ones that are unfinished, all
      else is about all migrations.
  type: dict
  returned: when the instance was read
  sample: {safe_to_upgrade: true, unfinished: [], reasons: []}
"""
