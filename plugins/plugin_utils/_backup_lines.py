# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The progress of making a backup, and of reading one."""

from __future__ import annotations

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import (
    FAILED,
    RUNNING,
    PartRun,
    Reader,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import clean
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._log_lines import HEARTBEAT_SECONDS, WholeLines


class BackupLines:
    """The progress of C(gitlab-backup create): each part when it begins and when it is over, and what failed."""

    def __init__(self) -> None:
        self._lines = WholeLines()
        self._reader = Reader("")
        self._shown: list[PartRun] = []
        self._began = self._said = 0.0

    def feed(self, text: str, now: float) -> list[str]:
        for line in clean(self._lines.add(text)).splitlines():
            self._reader.take(line)
        new = [part for part in self._reader.parts if part not in self._shown]
        self._shown += new
        running = self._reader.parts[-1] if self._reader.parts else None
        if new:
            self._began = self._said = now
        elif running and running.outcome == RUNNING and now - self._said >= HEARTBEAT_SECONDS:
            self._said = now
            return [f"backup  {running.label}  for {in_words(now - self._began)}"]
        return [_line(part) for part in new]


class EachLine:
    """The progress of a job that prints a line whenever there is something to say: each of them."""

    def __init__(self) -> None:
        self._lines = WholeLines()

    def feed(self, text: str, now: float) -> list[str]:
        return self._lines.add(text).splitlines()


def _line(part: PartRun) -> str:
    if part.outcome == RUNNING:
        return f"backup  {part.label}"
    outcome = "FAILED" if part.outcome == FAILED else part.outcome
    return f"backup  {part.label}  {outcome}" + (f" in {in_words(part.seconds)}" if part.seconds else "")
