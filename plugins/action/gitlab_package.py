# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import (
    LogLines,
    MatchingLines,
    RecipeLines,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction

_STEPS = re.compile(
    r"^ *((?:Get:\d+|Downloading|Preparing to unpack|Unpacking|Setting up|Removing|Downgrading|Installing) .*)",
    re.MULTILINE,
)


class ActionModule(LongWorkAction):
    """The controller's side of C(gitlab_package): shows what the package manager does, or how far the package's hook is."""

    MODULE = "gitlab_fleet.upgrade.gitlab_package"

    def make_lines(self, memory: t.Mapping[str, t.Any]) -> LogLines:
        return MatchingLines("package", _STEPS) if self._task.args.get("state") == "present" else RecipeLines()
