# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_reading import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._status import read_status


class ActionModule(ActionBase):
    """The controller's side of C(bbm_status): one command on the host instead of a Python module."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=argument_spec())
        result.update(read_status(self, task_vars or {}, options))
        return result
