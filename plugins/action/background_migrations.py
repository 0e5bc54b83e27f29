# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._background_migration_lines import (
    BackgroundMigrationLines,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import LogLines


class ActionModule(LongWorkAction):
    """The controller's side of C(background_migrations): shows which class is being worked on, and how many jobs it has."""

    MODULE = "gitlab_fleet.upgrade.background_migrations"

    def make_lines(self, memory: t.Mapping[str, t.Any]) -> LogLines:
        return BackgroundMigrationLines()
