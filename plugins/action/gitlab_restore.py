# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import LogLines, MatchingLines
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction

_PARTS = re.compile(
    r"^(?:\d{4}-\d\d-\d\d [\d:]{8} \S+ -- )?(Unpacking backup|Restoring (?!.*(?:done|\])$).+?|Cleaning the database) \.\.\.(?! done)",
    re.MULTILINE,
)


class ActionModule(LongWorkAction):
    """The controller's side of C(gitlab_restore): shows which part is being restored."""

    MODULE = "gitlab_fleet.upgrade.gitlab_restore"

    def make_lines(self, memory: t.Mapping[str, t.Any]) -> LogLines:
        return MatchingLines("restore", _PARTS)
