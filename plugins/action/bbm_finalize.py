# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job_poll import Look
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import migration_line
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._status import read_status


class ActionModule(LongWorkAction):
    """The controller's side of C(bbm_finalize): shows how far the migration is while its job runs on the host.

    GitLab's command itself prints nothing before it is done, so that the rows are asked.
    """

    MODULE = "gitlab_fleet.upgrade.bbm_finalize"

    def show(self, step: t.Mapping[str, t.Any], look: Look) -> None:
        if not look.running:
            return
        options = {name: self._task.args[name] for name in argument_spec() if name in self._task.args}
        options["migrations"] = [step["id"]]
        status = self.reach(lambda: read_status(self, self._variables, options))
        # What cannot be shown now may be shown later; whether it matters the module finds out.
        for migration in status.get("migrations", []):
            if self._throttle.due(migration["id"], migration["state"], migration["progress"]["percent"]):
                self.line(migration_line(dict(migration, stalled=False)))
