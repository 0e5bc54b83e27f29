# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This documentation fragment is private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """What every module says about itself: one base fragment and add-ons to combine with it."""

    # The words alone. The module itself states the support of each attribute.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description:
      - Makes every read and no write in check mode, and predicts whether the instance would change.
  diff_mode:
    description:
      - Shows in diff mode the rows or settings as they were found and as they were left, or as they would be left.
  idempotent:
    description:
      - Run a second time in the same conditions, changes nothing and reports no change.
      - This assumes that nothing else has changed the instance between the two runs.
"""

    # For modules that only read.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Only reads, so check mode is no different from a normal run.
  diff_mode:
    support: N/A
    details:
      - Only reads, so there is no difference to show.
  idempotent:
    support: full
    details:
      - Only reads. What it returns follows the instance, which goes on working between two runs.
"""

    ACTIONGROUP_GITLAB = r"""
options: {}
attributes:
  action_group:
    description:
      - Takes common options from C(group/gitlab_fleet.upgrade.gitlab) in C(module_defaults).
    support: full
    membership:
      - gitlab_fleet.upgrade.gitlab
"""

    # For modules whose name is also an action plugin.
    FLOW = r"""
options: {}
attributes:
  action:
    description:
      - A part of the work is done on the controller, by an action plugin of the same name.
  async:
    description:
      - Can be used with the C(async) keyword.
"""

    # For modules that can lose data or hide work that is not done.
    DESTRUCTIVE = r"""
options: {}
attributes:
  destructive:
    description:
      - Can lose data, or make unfinished work look finished, when its preconditions do not hold.
      - The module proves the preconditions itself and does nothing when one of them fails.
"""
