# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_reading import (
    argument_spec,
    probe_command,
    status_from_probe,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import PSQL

if t.TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

MODULE = "gitlab_fleet.upgrade.bbm_status"


def read_status(
    action: ActionBase, task_vars: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """Return the result of C(bbm_status) for the host of an action plugin's task.

    ``options`` are the module's, checked; those that are missing have their defaults. Where the connection can carry
    the question, one command asks the host; otherwise the module does, with the same result.

    The result can have C(failed) set. A host that is not reached raises what the connection plugin raises.
    """
    complete = {name: option.get("default") for name, option in argument_spec().items()}
    complete.update({name: options[name] for name in complete if name in options})
    if complete["database_backend"] == PSQL and _carries_stdin(action):
        try:
            argv, question = probe_command(complete)
            output = action._low_level_execute_command(shlex.join(argv), in_data=question.encode())["stdout"]
            # If nothing of it ran, the module says why, or finds another way (sudo that wants a terminal, no /bin/sh).
            if _probe.started(output):
                return status_from_probe(output, complete)
        except GitLabError as error:
            return dict(error.to_result(), failed=True, changed=False)
    arguments = {name: value for name, value in complete.items() if value is not None}
    result: dict[str, t.Any] = action._execute_module(
        module_name=MODULE, module_args=arguments, task_vars=dict(task_vars)
    )
    return result


def _carries_stdin(action: ActionBase) -> bool:
    """Return whether a command can get data on its stdin: with data there is also no terminal in the way."""
    become = action._connection.become
    return bool(action._connection.has_pipelining) and (
        become is None or getattr(become, "pipelining", become.name != "su")
    )
