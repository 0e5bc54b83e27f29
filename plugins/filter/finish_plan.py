# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: finish_plan
author: The gitlab_fleet.upgrade authors
version_added: 0.1.0
short_description: Decide how each unfinished batched background migration is to be finished, and say why
description:
  - Decides for each unfinished migration of a result of M(gitlab_fleet.upgrade.bbm_status) between waiting for Sidekiq, letting more
    migrations run side by side, trying a failed one again, finalizing in the foreground, and leaving it to a person.
  - Waits where that is in time; raises the parallelism only as far as the deadline asks for; finalizes only what waiting cannot do, and as
    little as possible. Where there is no deadline, it finalizes only what does not move.
  - What is not known is not in time. While the first batches run there is no estimate yet; then the plan says when to look again.
  - It does nothing by itself. The role P(gitlab_fleet.upgrade.finish_migrations#role) does what it says.
positional: _input
options:
  _input:
    description: What a task with M(gitlab_fleet.upgrade.bbm_status) registered, without filters or with C(state=[unfinished]).
    type: dict
    required: true
  mode:
    description:
      - V(serving), when Sidekiq works and can be waited for.
      - V(downtime), when nothing is waited for and everything is finalized.
    type: str
    choices: [serving, downtime]
    default: serving
  seconds_left:
    description: The seconds until everything must be finished. Without it there is no deadline.
    type: float
  max_parallel:
    description: The most migrations of one database that may run side by side. V(0) leaves that as it is. GitLab 15.7 and later.
    type: int
    default: 0
  finalize_parallel:
    description: How many migrations are finalized side by side, for the estimate.
    type: int
    default: 1
  allow_finalize:
    description: Whether migrations may be finalized in the foreground.
    type: bool
    default: false
  allow_retry:
    description: Whether failed migrations may be tried again.
    type: bool
    default: false
  allow_paused:
    description: Whether paused migrations may be finalized.
    type: bool
    default: false
  review_seconds:
    description: The least seconds until a plan is made anew.
    type: float
    default: 300
  past:
    description:
      - What was done before in the same run, as lists of ids. C(retried) are those that were tried again, C(watched) those of which an
        earlier plan said so in C(watch), C(stuck) those that were waited for without anything moving.
    type: dict
    default: {}
seealso:
  - module: gitlab_fleet.upgrade.bbm_status
  - module: gitlab_fleet.upgrade.bbm_wait
  - module: gitlab_fleet.upgrade.bbm_settings
  - module: gitlab_fleet.upgrade.bbm_retry
  - module: gitlab_fleet.upgrade.bbm_finalize
"""

EXAMPLES = r"""
---
- name: Read the migrations
  gitlab_fleet.upgrade.bbm_status:
  register: status

- name: Show what would have to be done to be ready in six hours
  ansible.builtin.debug:
    msg: "{{ (status | gitlab_fleet.upgrade.finish_plan(seconds_left=21600, max_parallel=4, allow_finalize=true)).lines }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    done:
      description: Whether nothing is left to be finished.
      type: bool
      sample: false
    mode:
      description: The mode that it is made for.
      type: str
      sample: serving
    seconds_left:
      description: The seconds until the deadline; null without one.
      type: float
      sample: 21600.0
    decisions:
      description: One for each migration of the status, in the order in which they are acted on.
      type: list
      elements: dict
      contains:
        id:
          description: The migration's id.
          type: str
          sample: main_85
        job_class_name:
          description: Its class.
          type: str
          sample: BackfillNamespaceIdForNamespaceRoute
        table_name:
          description: Its table.
          type: str
          sample: routes
        state:
          description: Its state.
          type: str
          sample: active
        percent:
          description: How far it is; null if that cannot be told.
          type: float
          sample: 42.17
        action:
          description:
            - What to do, V(nothing) (it is finished, or can be ignored), V(wait), V(wait_faster) (with more side by side), V(retry), V(finalize) or V(operator)
              (only a person can decide; nothing is begun before that).
          type: str
          sample: wait_faster
        why:
          description: The reason, with its figures.
          type: str
          sample: >-
            42.17 % done; with 2 side by side it ends in about 9 h, 3 h past the deadline; with 3 it ends in about 4 h, 2 h before the deadline
        seconds:
          description: In how many seconds it would be finished; null if that is not known.
          type: int
          sample: 14400
        basis:
          description:
            - What that rests on. V(measured), the pace of the last batches; V(at_most), an upper limit; V(planned), the batches that are left
              before there is a pace; V(unknown); null where nothing is done.
          type: str
          sample: measured
        in_time:
          description: Whether that is before the deadline; null if it is not known, or without a deadline.
          type: bool
          sample: true
    actions:
      description: The ids by action.
      type: dict
      sample: {operator: [], retry: [], finalize: [main_90], wait_faster: [main_85], wait: [main_84], nothing: []}
    order:
      description: The ids that something is done about, in that order.
      type: list
      elements: str
      sample: [main_90, main_85, main_84]
    parallel:
      description: How many run side by side in one database (C(now)), how many are to (C(set), null for no change), and C(why).
      type: dict
      sample: {now: 2, set: 3, why: '3 side by side in each database instead of 2, for main_85'}
    settings:
      description: The options of M(gitlab_fleet.upgrade.bbm_settings) for that; empty for no change.
      type: dict
      sample: {max_running: 3}
    estimate:
      description: In how many C(seconds) everything is finished (null if that is not known), its C(basis), and whether that is C(in_time).
      type: dict
      sample: {seconds: 14400, basis: the last one ends in about 4 h (measured), in_time: true}
    too_late:
      description: The ids of those that will not be finished at the deadline, whatever is done about them.
      type: list
      elements: str
      sample: []
    watch:
      description: The ids of those that are waited for until there is an estimate.
      type: list
      elements: str
      sample: []
    look_again_seconds:
      description: When to make the plan anew, while it is waited for; V(0) is not before something happens.
      type: int
      sample: 3600
    lines:
      description: The plan for people.
      type: list
      elements: str
      sample:
        - 1 batched background migration is unfinished; serving, the deadline is in 6 h
        - 'wait         BackfillX on projects (main_84): 42 % done; it ends in about 4 h, 2 h before the deadline'
        - 'estimate: the last one ends in about 4 h (measured)'
"""

import math
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_alone import MODES, SERVING, Means, Past
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_plan import plan

NAME = "gitlab_fleet.upgrade.finish_plan"


def finish_plan(
    status: t.Mapping[str, t.Any],
    mode: str = SERVING,
    seconds_left: float | None = None,
    max_parallel: int = 0,
    finalize_parallel: int = 1,
    allow_finalize: bool = False,
    allow_retry: bool = False,
    allow_paused: bool = False,
    review_seconds: float = 300,
    past: t.Mapping[str, t.Iterable[str]] | None = None,
) -> dict[str, t.Any]:
    """Return the plan for a result of C(bbm_status)."""
    if mode not in MODES:
        raise AnsibleFilterError(f"{NAME}: mode is {mode!r}. Give one of {', '.join(MODES)}.")
    # Only true is a permission: the string "false" must not be one.
    for name, value in (("finalize", allow_finalize), ("retry", allow_retry), ("paused", allow_paused)):
        if not isinstance(value, bool):
            raise AnsibleFilterError(f"{NAME}: allow_{name} is {value!r}. Give true or false.")
    least = {
        "max_parallel": (max_parallel, 0),
        "finalize_parallel": (finalize_parallel, 1),
        "review_seconds": (review_seconds, 1),
    }
    for name, (number, lowest) in least.items():
        if not _is_number(number) or number < lowest:
            raise AnsibleFilterError(f"{NAME}: {name} is {number!r}. Give a number from {lowest} on.")
    if seconds_left is not None and not _is_number(seconds_left):
        raise AnsibleFilterError(f"{NAME}: seconds_left is {seconds_left!r}. Give a number, or nothing.")
    unknown = sorted(set(past or {}) - set(Past.__dataclass_fields__))
    if unknown:
        raise AnsibleFilterError(
            f"{NAME}: past has no {', '.join(unknown)}. It has {', '.join(Past.__dataclass_fields__)}."
        )
    means = Means(
        mode, seconds_left, max_parallel, allow_finalize, allow_retry, allow_paused, finalize_parallel, review_seconds
    )
    try:
        return plan(status, means, Past(**{name: frozenset(ids) for name, ids in (past or {}).items()}))
    except GitLabError as error:
        raise AnsibleFilterError(f"{NAME}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class FilterModule:
    """Filters about finishing migrations."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"finish_plan": finish_plan}
