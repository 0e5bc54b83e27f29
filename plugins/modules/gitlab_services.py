#!/usr/bin/python

# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_services
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Start, stop, restart services of the Linux package, and put them back as they were
description:
  - Brings services of a node into a state and proves it by C(gitlab-ctl status), whose exit code and whose answer to C(stop) prove nothing.
  - Only the services that are named are touched.
  - With O(remember=true) it records which of them were running before they are stopped, so that a later O(state=restored) starts exactly
    those, also when the run that stopped them broke off in between.
  - With O(stay_down=true) they are not started either when the node boots before that.
  - It asks no database. It takes the options about databases like all modules of its action group.
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
    support: partial
    details:
      - O(state=restarted) restarts each time.
options:
  name:
    description:
      - The services, such as V(puma) and V(sidekiq).
      - Required, except with O(state=restored), where it limits the services to these; by default, all of the record.
    type: list
    elements: str
    aliases: [services]
  state:
    description:
      - V(started), V(stopped) or V(restarted) for each of the services. What was started is no longer put away, and leaves the record.
      - V(restored) starts those that were running when they were put away with O(remember=true), leaves the others alone,
        and removes the record once they are proven to run. Without a record there is nothing to do.
      - All but V(stopped) first take away what O(stay_down=true) made, so that the services start again at the next boot.
    type: str
    choices: [started, stopped, restarted, restored]
    required: true
  remember:
    description:
      - Record which of the services are running before they are stopped, for a later O(state=restored).
      - What an earlier record says of a service stays, since that run may have stopped it.
      - The record is C(/var/lib/gitlab_fleet_upgrade/services.json).
    type: bool
    default: false
  stay_down:
    description:
      - Keep the services down when the node boots too, until they are started or restored by this module. It needs O(remember=true).
      - This is runit's file C(/opt/gitlab/sv/<service>/down). It is made before the service is stopped, and says by whom it was made.
      - A file that was there before, made by an operator or for a service with C(ha) in C(gitlab.rb), is neither changed nor taken away.
      - By hand, remove the file and run C(gitlab-ctl start); C(gitlab-ctl start) alone starts the service until the next boot only.
    type: bool
    default: false
  required:
    description:
      - Whether it is a failure if the node does not have one of the services.
      - If not, such services are returned in RV(absent). Nodes of one instance have different services.
    type: bool
    default: false
  timeout:
    description:
      - How many seconds to wait, after the last command, until each service is proven to be in its state.
      - Sidekiq lets its jobs end before it stops, which takes up to 25 seconds by default.
    type: int
    default: 120
requirements:
  - The Linux package (O(install_type=omnibus)).
seealso:
  - name: GitLab documentation on the services
    description: Starting and stopping the services of the Linux package.
    link: https://docs.gitlab.com/omnibus/maintenance/
"""

EXAMPLES = r"""
---
- name: Stop what writes to the database, and remember what was running
  gitlab_fleet.upgrade.gitlab_services:
    name: [puma, sidekiq]
    state: stopped
    remember: true
    stay_down: true

- name: Put the services back as they were
  gitlab_fleet.upgrade.gitlab_services:
    state: restored

- name: Restart Sidekiq
  gitlab_fleet.upgrade.gitlab_services:
    name: [sidekiq]
    state: restarted
    required: true
"""

RETURN = r"""
services:
  description:
    - All services of the node, also those that were not named, as they are at the end.
    - C(down_file) is V(ours) where this module keeps the service down when the node boots, V(foreign) where somebody else does, otherwise V(null).
  type: dict
  returned: success, and on failures after the status was read
  sample:
    puma:
      state: down
      pid: null
      seconds: 3
      detail: 3s
      down_file: ours
    redis:
      state: run
      pid: 562
      seconds: 6974
      detail: (pid 562) 6974s
      down_file: null
absent:
  description: The named services that the node does not have, or that are disabled in its configuration.
  type: list
  elements: str
  returned: success
  sample: [sidekiq]
remembered:
  description:
    - Which services the record on the node names as put away, and whether they ran before that. Empty if there is no record.
    - In check mode, which does not change the record, this is what was found.
  type: dict
  returned: success
  sample:
    puma: true
    sidekiq: true
commands:
  description: The commands that were run, and in check mode those that would be run, as lists of arguments.
  type: list
  elements: list
  returned: success
  sample:
    - [/opt/gitlab/bin/gitlab-ctl, status]
    - [/opt/gitlab/bin/gitlab-ctl, stop, puma]
"""

import itertools
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _put_away, _services, _state
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._down_files import DownFiles
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS, Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import ModuleRunner
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._services import Service

RECORD = "services.json"


class Node:
    """The services of one node, by C(gitlab-ctl), and what keeps them down when it boots."""

    def __init__(self, module: AnsibleModule) -> None:
        if module.params["install_type"] != OMNIBUS:
            raise GitLabError(
                "A self-compiled GitLab has no gitlab-ctl, which this module needs.",
                "Start and stop its services by its init system, for example with ansible.builtin.systemd_service.",
            )
        self.runner = ModuleRunner(module)
        self.down_files = DownFiles()
        self._installation = Installation.create(OMNIBUS)

    def command(self, *arguments: str) -> list[str]:
        return self._installation.ctl(*arguments)

    def read(self) -> dict[str, Service]:
        output = self.runner.run(self.command("status")).output
        services = _services.parse_status(output)
        if not services:
            raise GitLabError(
                f"gitlab-ctl status tells of no service: {output.strip() or 'it printed nothing'}.",
                "Run as root (become: true). If GitLab was never configured here, run gitlab-ctl reconfigure; "
                "if its supervisor is down, run systemctl start gitlab-runsvdir.",
            )
        return services

    def bring(
        self,
        state: str,
        before: t.Mapping[str, Service],
        plan: list[list[str]],
        names: list[str],
        timeout: int,
        changed: bool,
    ) -> dict[str, Service]:
        """Run ``plan`` and read until each service is proven to be in ``state``, for at most ``timeout`` seconds."""
        outputs = [self.runner.run(argv).output.strip() for argv in plan]
        deadline = time.monotonic() + timeout
        while True:
            now = self.read()
            late = [name for name in names if name not in now or not _services.reached(state, before[name], now[name])]
            if not late:
                return now
            if time.monotonic() >= deadline:
                found = ", ".join(f"{name}: {now[name].state if name in now else 'gone'}" for name in late)
                raise GitLabError(
                    f"After {timeout} seconds not all services are {state} ({found}).",
                    f"Look at the log with gitlab-ctl tail {late[0]}, then run this again, "
                    "with a larger timeout if the service is only slow.",
                    services=self.as_results(now),
                    outputs=outputs,
                    changed=changed,
                )
            time.sleep(1)

    def present(
        self, services: t.Mapping[str, Service], names: list[str], absent: list[str], required: bool
    ) -> list[str]:
        """Return those of the services that the node has; refuse those of which nothing can be known."""
        if absent and required:
            raise GitLabError(
                f"This node does not have the services {', '.join(absent)}.",
                "Check the option name; gitlab-ctl status on the node lists what it has.",
                services=self.as_results(services),
            )
        present = [name for name in names if name not in absent]
        for name in present:
            if services[name].state == _services.FAIL:
                raise GitLabError(
                    f"{name} is not under supervision: {services[name].detail}. What it does cannot be known or changed.",
                    "Run as root (become: true); if it persists, run systemctl start gitlab-runsvdir on the node.",
                    services=self.as_results(services),
                )
        return present

    def as_results(self, services: t.Mapping[str, Service]) -> dict[str, t.Any]:
        return {
            name: {**service.to_dict(), "down_file": self.down_files.owner(name)}
            for name, service in sorted(services.items())
        }


def chosen(params: t.Mapping[str, t.Any], record: t.Mapping[str, bool]) -> tuple[str, list[str]]:
    """Return the state that is to be reached, and the services that are to reach it."""
    state, names = params["state"], params["name"]
    if params["remember"] and state != _services.STOPPED:
        raise GitLabError(f"remember has no meaning with state: {state}.", "Use it with state: stopped.")
    if params["stay_down"] and not params["remember"]:
        raise GitLabError(
            "stay_down needs a record of what is kept down.", "Use it with state: stopped and remember: true."
        )
    if state == _services.RESTORED:
        return _services.STARTED, [name for name, ran in record.items() if ran and (names is None or name in names)]
    return state, list(dict.fromkeys(names))


def save(before: dict[str, bool], after: dict[str, bool]) -> None:
    if after and after != before:
        _state.write_record(RECORD, after)
    elif before and not after:
        _state.remove_record(RECORD)


def at_boot(start: list[str], stay_down: list[str]) -> dict[str, str]:
    """Return for a diff what services do when the node boots."""
    return {f"{name} at boot": word for names, word in ((start, "starts"), (stay_down, "stays down")) for name in names}


def run(module: AnsibleModule) -> dict[str, t.Any]:
    node = Node(module)
    params = module.params
    record: dict[str, bool] = _state.read_record(RECORD) or {}
    state, names = chosen(params, record)
    before = node.read()
    absent = _services.absent(before, names)
    present = node.present(before, names, absent, params["required"])
    needed = {name: _services.needs(state, before[name]) for name in present}
    plan = [node.command(command, name) for name, command in needed.items() if command]
    released = _put_away.released(params["state"], params["name"], record)
    new_record = {name: ran for name, ran in record.items() if name not in released}
    if params["remember"]:
        new_record = _put_away.put_away(record, before, present)
    owners = {name: node.down_files.owner(name) for name in [*present, *released]}
    to_make = _put_away.down_files_to_make(params["stay_down"], present, owners)
    to_remove = _put_away.down_files_to_remove(released, owners)
    changed = bool(plan or to_make or to_remove)

    after = before
    if not module.check_mode:
        if state == _services.STOPPED:
            save(record, new_record)
        for name in to_make:
            node.down_files.make(name)
        for name in to_remove:
            node.down_files.remove(name)
        after = node.bring(state, before, plan, present, params["timeout"], changed)
        if state != _services.STOPPED:
            save(record, new_record)

    word = {_services.STOPPED: _services.DOWN, _services.RESTARTED: "run, restarted"}.get(state, _services.RUN)
    commands = node.runner.commands + (plan if module.check_mode else [])
    return {
        "changed": changed,
        "services": node.as_results(after),
        "absent": absent,
        "remembered": record if module.check_mode else new_record,
        # The status is read each second while waiting; once is enough to tell.
        "commands": [argv for argv, _repeated in itertools.groupby(commands)],
        "diff": {
            "before": {**{name: before[name].state for name in present}, **at_boot(to_make, to_remove)},
            "after": {**dict.fromkeys(present, word), **at_boot(to_remove, to_make)},
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            name={"type": "list", "elements": "str", "aliases": ["services"]},
            state={"type": "str", "choices": list(_services.STATES), "required": True},
            remember={"type": "bool", "default": False},
            stay_down={"type": "bool", "default": False},
            required={"type": "bool", "default": False},
            timeout={"type": "int", "default": 120},
        ),
        required_if=[
            ("state", _services.STARTED, ["name"]),
            ("state", _services.STOPPED, ["name"]),
            ("state", _services.RESTARTED, ["name"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
