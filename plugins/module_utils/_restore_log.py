# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads what C(gitlab-backup restore) prints, of every version from 13.x on (lib/backup/, lib/tasks/gitlab/backup.rake).

With GITLAB_ASSUME_YES errors of the schema pass without a question, and psql ends with 0 whatever it met. So every line
counts, and the rows afterwards count more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import clean

RUNNING = "running"
DONE = "done"
SKIPPED = "skipped"

# Up to 14.9 +0000, later UTC.
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:UTC|[+-]\d{4}) -- ?")
_BEGIN = re.compile(r"^Restoring (?!PostgreSQL database )(.+?) \.\.\. ?(.*)$")
_RESULT = {"done": DONE, "[SKIPPED]": SKIPPED, "[DISABLED]": SKIPPED}
_END = re.compile(r"^Restore task is done\.$")
_ERRORS_BEGIN = "------ BEGIN ERRORS -----"
_ERRORS_END = "------ END ERRORS -------"

# psql repeats each error on stderr, also those that GitLab knows to be harmless.
_HARMLESS = re.compile(r"WARNING:|does not exist$|must be owner of")
_DATABASE_ERROR = re.compile(r"^(?:psql:.*?: )?(?:ERROR|FATAL|PANIC): ")
_FATAL = re.compile(
    r"No space left on device|^rake aborted!|^(?:Backup::)?\w*Error\b|^Restore failed|Unpacking backup failed|unpacking backup failed"
    r"|^tar: (?!Removing leading|.*file changed as we read it)|^gzip: |^No backups found|^Found more than one backup"
    r"|^The backup file .* does not exist|^GitLab version mismatch|differs from the GitLab version in the backup"
    r"|^Source database file does not exist|^### NOTICE ###|^Insufficient disk space|^Backup and restore in progress"
    r"|There is a backup and restore task in progress|\[FAILED\]|server closed the connection unexpectedly"
    r"|connection to server .* failed|could not connect to server|^Quitting\.\.\."
)


@dataclass(frozen=True)
class PartRun:
    """One part of a restore, as the log calls it, and how it went."""

    label: str
    outcome: str


@dataclass(frozen=True)
class Log:
    """What a log tells.

    ``schema_errors`` are what GitLab itself asks about, or would; ``failures`` is everything else that went wrong.
    """

    parts: tuple[PartRun, ...]
    schema_errors: tuple[str, ...]
    failures: tuple[str, ...]
    finished: bool

    @property
    def current(self) -> str | None:
        """The part that was begun and not ended."""
        return next((part.label for part in reversed(self.parts) if part.outcome == RUNNING), None)


def read(text: str) -> Log:
    """Read a log, or as much of it as there is."""
    reader = _Reader()
    for line in clean(text).splitlines():
        reader.take(_STAMP.sub("", line).rstrip())
    errors, failures = (tuple(dict.fromkeys(lines)) for lines in (reader.errors, reader.failures))
    return Log(tuple(reader.parts), errors, failures, reader.finished)


class _Reader:
    def __init__(self) -> None:
        self.parts: list[PartRun] = []
        self.errors: list[str] = []
        self.failures: list[str] = []
        self.finished = False
        self._inside = False
        self._cleaning = False

    def take(self, line: str) -> None:
        if line in (_ERRORS_BEGIN, _ERRORS_END):
            self._inside = line == _ERRORS_BEGIN
        elif self._inside or _DATABASE_ERROR.match(line):
            if line and not _HARMLESS.search(line):
                self.errors.append(line)
        elif _FATAL.search(line):
            self.failures.append(line.strip())
        elif _END.match(line):
            self.finished = True
        elif line.startswith("Cleaning the database"):
            self._cleaning = not line.endswith("done")
        elif line == "done" and self._cleaning:
            self._cleaning = False
        else:
            self._take_part(line.strip())

    def _take_part(self, line: str) -> None:
        begin = _BEGIN.match(line)
        if begin:
            label, line = begin.groups()
            if not self.parts or self.parts[-1] != PartRun(label, RUNNING):
                self.parts.append(PartRun(label, RUNNING))
        # [DONE] alone is the end of one database, not of the part. Up to 14.9 the others have a line of their own.
        if line in _RESULT and self.parts and self.parts[-1].outcome == RUNNING:
            self.parts[-1] = replace(self.parts[-1], outcome=_RESULT[line])
