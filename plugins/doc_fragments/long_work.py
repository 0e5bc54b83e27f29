# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
notes:
  - The work runs on the host as a job of its own (a transient systemd unit, or a session where systemd does not run) that outlives the
    connection and the controller. Running the same task again attaches to it. What is known of it is in
    C(/var/lib/gitlab_fleet_upgrade/jobs), readable by root only; the output of the last ten runs is kept in C(archive) there.
  - A connection that dies without a word, as behind a firewall that forgets it, is noticed by SSH's own keep-alive alone. Switch that on,
    for example with C(ansible_ssh_extra_args) set to C(-o ServerAliveInterval=15).
attributes:
  action:
    support: full
  async:
    support: full
    details:
      - With C(async) there is no live progress.
options:
  timeout:
    description:
      - Stop waiting and fail after so many seconds. V(0) waits as long as it takes.
      - What is running goes on on the host, since ending it half-way helps nobody; running the same task again waits for it further.
    type: int
    default: 0
  poll_interval:
    description: How many seconds to let pass between two looks at the work.
    type: int
    default: 5
  max_connection_failures:
    description:
      - How many times in a row the connection to the host may fail while the work is running, before the task gives up waiting.
      - Between two tries O(poll_interval) seconds pass, from the third on twice as many each time, up to one minute.
      - Then the task has failed, so that C(rescue) and C(always) run. Only a host that cannot be reached at the start is unreachable.
    type: int
    default: 30
  wait:
    description:
      - Whether to return only when the work is over.
      - With V(false) the module does the next step and returns RV(step) when there is more to do. This is how the action plugin of the
        same name calls it, to show progress in between; it always waits itself.
    type: bool
    default: true
  memory:
    description: RV(memory) of the step before, with O(wait=false).
    type: dict
"""
