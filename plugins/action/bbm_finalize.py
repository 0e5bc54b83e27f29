# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize_many as many
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job_poll import Look
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._long_work import LongWorkAction
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import migration_line
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._status import read_status


class ActionModule(LongWorkAction):
    """The controller's side of C(bbm_finalize): shows how far the migrations are while their job runs on the host.

    GitLab's command itself prints nothing before it is done, so that the rows are asked.
    """

    MODULE = "gitlab_fleet.upgrade.bbm_finalize"

    # The output of the job for many so far, and which of its migrations were shown at their end.
    _output: tuple[float, str] = (0.0, "")
    _shown: frozenset[str] = frozenset()

    def show(self, step: t.Mapping[str, t.Any], look: Look) -> None:
        ids = self._of_many(step, look) if step["job"] == many.JOB else [step["id"]] if look.running else []
        if not ids:
            return
        options = {name: self._task.args[name] for name in argument_spec() if name in self._task.args}
        options["migrations"] = ids
        status = self.reach(lambda: read_status(self, self._variables, options))
        # What cannot be shown now may be shown later; whether it matters the module finds out.
        for migration in status.get("migrations", []):
            if self._throttle.due(migration["id"], migration["state"], migration["progress"]["percent"]):
                self.line(migration_line(dict(migration, stalled=False)))

    def _of_many(self, step: t.Mapping[str, t.Any], look: Look) -> list[str]:
        """Return those that are being worked on, and once more those that came to their end."""
        started, text = self._output
        self._output = (step["started_at"], text * (started == step["started_at"]) + look.text)
        courses = many.read_courses(self._output[1])
        ended = {one for one, course in courses.items() if course.ended_at is not None}
        ids = [one for one in courses if one not in ended or one not in self._shown]
        self._shown = frozenset(ended)
        return ids
