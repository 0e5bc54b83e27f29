# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What of a growing log is worth a line of progress."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import (
    MIGRATING,
    MigrationRun,
    applied_migrations,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words

# How long nothing is said while nothing new happens.
HEARTBEAT_SECONDS = 60
# Chef goes through hundreds of resources; not each is worth a line.
RECIPE_SECONDS = 10

_RECIPE = re.compile(r"^Recipe: (\S+)", re.MULTILINE)
_RESOURCE = re.compile(r"^  \* ", re.MULTILINE)


class LogLines(t.Protocol):
    """Turns pieces of a log into lines of progress. ``now`` is any clock, in seconds."""

    def feed(self, text: str, now: float) -> list[str]:
        """Return the lines to show after ``text`` was read, which is empty when nothing was added."""


class WholeLines:
    """Puts lines together that were cut where one look ended and the next began."""

    def __init__(self) -> None:
        self._rest = ""

    def add(self, text: str) -> str:
        """Return the lines that are complete now."""
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        return whole + newline


class MigrationLines:
    """The progress of C(db:migrate): each migration when it begins, and once a minute the one that takes long."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._lines = WholeLines()
        self._seen: set[tuple[str | None, str]] = set()
        self._open: MigrationRun | None = None
        self._began = self._said = 0.0

    def feed(self, text: str, now: float) -> list[str]:
        lines = []
        for run in applied_migrations(self._lines.add(text)):
            if (run.database, run.version) not in self._seen:
                self._seen.add((run.database, run.version))
                lines.append(self._line(run))
                self._began = now
            self._open = run if run.state == MIGRATING else None
        if lines:
            self._said = now
        elif self._open and now - self._said >= HEARTBEAT_SECONDS:
            self._said = now
            lines.append(f"{self._line(self._open)}  for {in_words(now - self._began)}")
        return lines

    def _line(self, run: MigrationRun) -> str:
        place = f" ({run.database})" if run.database else ""
        return f"migration {len(self._seen)} of {max(self._total, len(self._seen))}  {run.version} {run.name}{place}"


class RecipeLines:
    """The progress of C(gitlab-ctl reconfigure): how many resources, and in which recipe."""

    def __init__(self) -> None:
        self._lines = WholeLines()
        self._resources = 0
        self._recipe = ""
        self._said: float | None = None

    def feed(self, text: str, now: float) -> list[str]:
        whole = self._lines.add(text)
        self._resources += len(_RESOURCE.findall(whole))
        recipes = _RECIPE.findall(whole)
        if recipes:
            self._recipe = recipes[-1]
        pause = RECIPE_SECONDS if recipes else HEARTBEAT_SECONDS
        if self._said is not None and now - self._said < pause:
            return []
        self._said = now
        return [f"reconfigure  {self._resources} resources  {self._recipe}".rstrip()]


class MatchingLines:
    """The progress of a command that names its steps: each of its lines that begins as ``pattern`` says.

    Once a minute the step that takes long is told again. A group of the pattern, if it has one, is what is shown.
    """

    def __init__(self, title: str, pattern: re.Pattern[str]) -> None:
        self._title = title
        self._pattern = pattern
        self._lines = WholeLines()
        self._step = ""
        self._began = self._said = 0.0

    def feed(self, text: str, now: float) -> list[str]:
        found = [match.group(match.lastindex or 0).strip() for match in self._pattern.finditer(self._lines.add(text))]
        lines = [f"{self._title}  {step}" for step in found]
        if found:
            self._step, self._began, self._said = found[-1], now, now
        elif self._step and now - self._said >= HEARTBEAT_SECONDS:
            self._said = now
            lines.append(f"{self._title}  {self._step}  for {in_words(now - self._began)}")
        return lines
