# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction


class ActionModule(LongWorkAction):
    """The controller's side of C(bbm_finalize): shows how far the migration is while its job runs on the host."""

    MODULE = "gitlab_fleet.upgrade.bbm_finalize"
