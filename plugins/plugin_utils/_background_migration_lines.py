# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_clear import events
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import HEARTBEAT_SECONDS, WholeLines
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle

_FROM: t.Mapping[str, str] = {
    "sidekiq": "from Sidekiq",
    "row": "tracked row",
    "interrupted": "of the run that was killed",
}


class BackgroundMigrationLines:
    """The progress of clearing: a line for each class, for each percent of its jobs, and once a minute."""

    def __init__(self) -> None:
        self._lines = WholeLines()
        self._now = self._began = 0.0
        self._throttle = Throttle(HEARTBEAT_SECONDS, lambda: self._now)
        self._totals: dict[str, int] = {}
        self._last = ""

    def feed(self, text: str, now: float) -> list[str]:
        self._now = now
        lines = []
        for event in events(self._lines.add(text)):
            self._began = now
            what = f"{event['class_name']} ({event['database']})  {_FROM[event['from']]}"
            total = self._totals.setdefault(what, event["left"] + 1)
            self._last = f"{what}  {event['left'] + 1} left"
            if self._throttle.due("", what, 100 * (total - event["left"]) / total):
                lines.append(self._last)
        if not lines and self._last and now - self._began >= HEARTBEAT_SECONDS and self._throttle.due("", self._last):
            lines.append(f"{self._last}  for {in_words(now - self._began)}")
        return lines
