# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import LogLines, MatchingLines
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction

# "Reverting database to 15.20 in 5 seconds", "== Reverting ==", "== Reverted =="
STEPS = re.compile(r"^(?:== )?(Revert(?:ing database to \S+|ing|ed))\b", re.MULTILINE)


class ActionModule(LongWorkAction):
    """The controller's side of C(postgresql_revert): shows how far gitlab-ctl is."""

    MODULE = "gitlab_fleet.upgrade.postgresql_revert"

    def make_lines(self, memory: t.Mapping[str, t.Any]) -> LogLines:
        return MatchingLines("revert-pg-upgrade", STEPS)
