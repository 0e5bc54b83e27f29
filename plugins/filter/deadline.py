# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deadline
author: The gitlab_fleet.upgrade authors
version_added: 0.1.0
short_description: Say when a deadline is, in seconds of the epoch
description:
  - Reads a deadline as people write it, on the controller's clock. Do it once, at the beginning. The next half past six is another one after
    half past six.
positional: _input
options:
  _input:
    description:
      - A time of day (V(06:30), the next one), a moment (V(2026-11-21T06:30)), or a number of seconds from now (V(7200)).
    type: raw
    required: true
seealso:
  - plugin: gitlab_fleet.upgrade.finish_plan
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Remember when the window ends
  ansible.builtin.set_fact:
    window_ends_at: "{{ '06:30' | gitlab_fleet.upgrade.deadline }}"
"""

RETURN = r"""
_value:
  description: The moment, in seconds since 1970.
  type: float
  sample: 1795242600.0
"""

import typing as t
from datetime import timedelta

from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._waiting import now_here, parse_deadline


def deadline(value: t.Any) -> float:
    """Return the moment in seconds of the epoch."""
    text = str(value).strip()
    now = now_here()
    if text.isdecimal() and int(text) > 0:
        return (now + timedelta(seconds=int(text))).timestamp()
    try:
        return parse_deadline(text, now).timestamp()
    except GitLabError as error:
        raise AnsibleFilterError(f"gitlab_fleet.upgrade.deadline: {error}") from error


class FilterModule:
    """Filters about time."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"deadline": deadline}
