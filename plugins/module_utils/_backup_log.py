# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads what C(gitlab-backup create) prints, of every version from 13.x on.

Up to 15.x a part that failed did not change the exit status, so that these lines are the only word of it.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import SUFFIX
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import clean

RUNNING = "running"
DONE = "done"
SKIPPED = "skipped"
DISABLED = "disabled"
FAILED = "failed"

DATABASE = "db"
REPOSITORIES = "repositories"

# What the log calls a part, and what SKIP calls it.
LABELS: t.Mapping[str, str] = {
    "database": DATABASE,
    "repositories": REPOSITORIES,
    "uploads": "uploads",
    "builds": "builds",
    "artifacts": "artifacts",
    "pages": "pages",
    "lfs objects": "lfs",
    "terraform states": "terraform_state",
    "container registry images": "registry",
    "packages": "packages",
    "ci secure files": "ci_secure_files",
    "external diffs": "external_diffs",
}
PARTS = tuple(LABELS.values())

# Up to 14.9 +0000, later UTC.
_DATED = re.compile(r"^\d{4}-\d\d-\d\d (\d\d):(\d\d):(\d\d) (?:UTC|[+-]\d{4}) -- (.*)$")
_BEGIN = re.compile(r"^Dumping (.+?) \.\.\. ?(.*)$")
_FAILED_PART = re.compile(r"^Dumping (.+?) failed: ")
_END = re.compile(r"^Backup (?:task|.+) is done\.$")
_OUTCOMES: t.Mapping[str, str] = {"done": DONE, "[SKIPPED]": SKIPPED, "[DISABLED]": DISABLED}
_BAD = re.compile(r"\b(?:fail(?:ed|ure)?|abort(?:ed|ing)?|errors?)\b|No space left on device", re.IGNORECASE)
# What GitLab (up to 14.9 few of its lines have a date) and the tools that it calls say without one.
_BAD_UNDATED = re.compile(
    r"\[failed\]|^(?:Failed to create compressed file|Creating archive .* failed|Transferring backup .*failed"
    r"|pg_dump: (?:error|\[archiver|aborting)|gzip: |tar: .*(?:Cannot|Error|changed as we read|No space)"
    r"|rake aborted!|Error: |Errno::|Backup::\w*Error|gitaly-backup exit status)",
    re.IGNORECASE,
)
_DAY = 24 * 3600


@dataclass(frozen=True)
class PartRun:
    """One part of a backup: its name as SKIP knows it, and how it went. ``seconds`` is None while it runs."""

    name: str
    label: str
    outcome: str
    seconds: int | None = None


@dataclass(frozen=True)
class Log:
    """What a log tells: the parts in their order, the lines that tell of a failure, and whether the end was reached."""

    parts: tuple[PartRun, ...]
    failures: tuple[str, ...]
    finished: bool

    def outcome(self, name: str) -> str | None:
        """Return how a part went, None when the log has no word of it. One failed database is a failed part."""
        outcomes = {part.outcome for part in self.parts if part.name == name}
        return next((one for one in (FAILED, RUNNING, DONE, SKIPPED, DISABLED) if one in outcomes), None)

    def named(self, *outcomes: str) -> list[str]:
        """Return the names of the parts that went so."""
        names = dict.fromkeys(part.name for part in self.parts)
        return [name for name in names if self.outcome(name) in outcomes]


def part_name(label: str) -> str | None:
    """Return the name of the part that the log calls ``label``; from 15.5 on each database has a label of its own."""
    if label.endswith("_database"):
        return DATABASE
    return LABELS.get(label)


def read(text: str, backup_id: str = "") -> Log:
    """Read the whole log.

    ``backup_id`` is the id of the backup: it stands in lines that tell of no failure, whatever words it has in it.
    """
    reader = Reader(backup_id)
    for line in clean(text).splitlines():
        reader.take(line)
    return Log(tuple(reader.parts), tuple(reader.failures), reader.finished)


class Reader:
    """Takes a log line by line."""

    def __init__(self, backup_id: str) -> None:
        self.parts: list[PartRun] = []
        self.failures: list[str] = []
        self.finished = False
        self._id = backup_id
        self._began = 0

    def take(self, line: str) -> None:
        """Take one line, without colours."""
        dated = _DATED.match(line)
        if not dated:
            if _END.match(line):
                self.finished = True
            elif _tells_failure(line):
                self.failures.append(line.strip())
            return
        hours, minutes, seconds, text = dated.groups()
        self._take_dated((int(hours) * 60 + int(minutes)) * 60 + int(seconds), text.strip())

    def _take_dated(self, moment: int, text: str) -> None:
        bad = _FAILED_PART.match(text)
        if bad:
            self._end(bad.group(1), FAILED, moment)
        begin = _BEGIN.match(text) if not bad else None
        if begin and part_name(begin.group(1)):
            label, result = begin.groups()
            if self._open(label) is None:
                self._leave_open()
                self._began = moment
                self.parts.append(PartRun(part_name(label) or label, label, RUNNING))
            if result in _OUTCOMES:
                self._end(label, _OUTCOMES[result], moment)
        elif text in _OUTCOMES and self.parts and self.parts[-1].outcome == RUNNING:
            # Up to 14.9 the result has a line of its own.
            self._end(self.parts[-1].label, _OUTCOMES[text], moment)
        if _END.match(text):
            self.finished = True
        elif _BAD.search(self._without_names(text)):
            self.failures.append(text)

    def _leave_open(self) -> None:
        # Up to 14.9 a part that failed has no word of its own: the next one begins, and no "done" stands between.
        if self.parts and self.parts[-1].outcome == RUNNING:
            self.parts[-1] = replace(self.parts[-1], outcome=FAILED)
            self.failures.append(f"Dumping {self.parts[-1].label} did not come to its end")

    def _open(self, label: str) -> int | None:
        for place, part in enumerate(self.parts):
            if part.label == label and part.outcome in (RUNNING, FAILED):
                return place
        return None

    def _end(self, label: str, outcome: str, moment: int) -> None:
        place = self._open(label)
        if place is None:
            self.parts.append(PartRun(part_name(label) or label, label, outcome, 0))
        elif self.parts[place].outcome == RUNNING:
            # The lines have no day of their own that would count: no part takes a day and looks as if it took none.
            self.parts[place] = replace(self.parts[place], outcome=outcome, seconds=(moment - self._began) % _DAY)

    def _without_names(self, text: str) -> str:
        for name in (f"{self._id}{SUFFIX}", self._id) if self._id else ():
            text = text.replace(name, "")
        return " ".join(word for word in text.split() if "/" not in word)


def _tells_failure(line: str) -> bool:
    if line.startswith("{"):
        # gitaly-backup: one object a line. Skipping an empty repository is a warning.
        try:
            entry = json.loads(line)
        except ValueError:
            return False
        return isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic")
    return bool(_BAD_UNDATED.search(line))
