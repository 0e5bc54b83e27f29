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

import itertools
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import DATABASE, PARTS, part_name
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

# lib/backup/helper.rb: a directory cannot be moved aside. The sentences that follow say which and why, up to an empty line.
_NOTICE = "### NOTICE ###"
_NOTICE_LINES = 8

# So many different lines of one kind are kept, of a log that may be endless; the first ones tell the most.
MOST = 1000

# lib/backup/repositories.rb: such a snippet is deleted at the end of the repositories.
_SNIPPET = re.compile(r"^Snippet .+ can't be restored: ")

# psql repeats each error on stderr, also those that GitLab knows to be harmless.
_HARMLESS = re.compile(r"WARNING:|does not exist$|must be owner of")
_DATABASE_ERROR = re.compile(r"^(?:psql:.*?: )?(?:ERROR|FATAL|PANIC): ")
_FATAL = re.compile(
    r"No space left on device|^rake aborted!|^(?:Backup::)?\w*Error\b|^Restore failed|Unpacking backup failed|unpacking backup failed"
    r"|^tar: (?!Removing leading|.*file changed as we read it)|^gzip: |^No backups found|^Found more than one backup"
    r"|^The backup file .* does not exist|^GitLab version mismatch|differs from the GitLab version in the backup"
    r"|^Source database file does not exist|^Insufficient disk space|^Backup and restore in progress"
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
    ``removed_snippets`` is the number of snippets that GitLab says it has deleted, because their repositories did not
    come back.
    """

    parts: tuple[PartRun, ...]
    schema_errors: tuple[str, ...]
    failures: tuple[str, ...]
    finished: bool
    removed_snippets: int = 0

    def not_done(self, parts: t.Iterable[str], database_only: bool) -> list[str]:
        """Return in words which of a backup's parts the log does not tell to have been restored to their end."""
        outcomes: dict[str, set[str]] = {}
        for run in self.parts:
            outcomes.setdefault(part_name(run.label) or run.label, set()).add(run.outcome)
        wanted = [name for name in PARTS if name in set(parts) and (name == DATABASE or not database_only)]
        # Of several databases those that the backup does not have are skipped; their rows are counted anyway.
        return [
            f"{name}: {' and '.join(sorted(outcomes.get(name, {'not a word'})))}"
            for name in wanted
            if DONE not in outcomes.get(name, ()) or RUNNING in outcomes[name]
        ]

    def files(self) -> list[str]:
        """Return which parts beside the databases the log tells to have been restored, or begun."""
        names = {part_name(run.label) for run in self.parts if run.outcome != SKIPPED}
        return [name for name in PARTS if name in names and name != DATABASE]

    @property
    def current(self) -> str | None:
        """The part that was begun and not ended."""
        return next((part.label for part in reversed(self.parts) if part.outcome == RUNNING), None)


def read(lines: t.Iterable[str]) -> Log:
    """Read a log line by line, or as much of it as there is."""
    reader = _Reader()
    for line in lines:
        for part in clean(line).splitlines():
            reader.take(_STAMP.sub("", part).rstrip())
    reader.end_notice()
    return Log(
        tuple(reader.parts),
        reader.errors.all(),
        reader.failures.all(),
        reader.finished,
        len(reader.snippets),
    )


def read_files(*paths: str) -> Log:
    """Read the files of a log from their beginning to their end; a missing one has nothing in it."""
    return read(itertools.chain.from_iterable(map(_lines, paths)))


def _lines(path: str) -> t.Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file
    except FileNotFoundError:
        return


class _Lines:
    """Different lines in the order of their coming, as many as there is room for."""

    def __init__(self) -> None:
        self._kept: dict[str, None] = {}
        self._left_out = 0

    def add(self, line: str) -> None:
        if len(self._kept) < MOST or line in self._kept:
            self._kept[line] = None
        else:
            self._left_out += 1

    def all(self) -> tuple[str, ...]:
        more = (f"and {self._left_out} more",) if self._left_out else ()
        return (*self._kept, *more)


class _Reader:
    def __init__(self) -> None:
        self.parts: list[PartRun] = []
        self.errors = _Lines()
        self.failures = _Lines()
        self.snippets: set[str] = set()
        self.finished = False
        self._inside = False
        self._cleaning = False
        self._notice: list[str] | None = None

    def end_notice(self) -> None:
        """Take what a notice said, if there was one, for one failure."""
        if self._notice:
            self.failures.add(" ".join(self._notice))
        self._notice = None

    def take(self, line: str) -> None:
        if line == _NOTICE and self._notice is None:
            self._notice = []
        elif self._notice is not None and line and line != _NOTICE and len(self._notice) < _NOTICE_LINES:
            self._notice.append(line.strip())
        else:
            self.end_notice()
            self._take(line)

    def _take(self, line: str) -> None:
        if line in (_ERRORS_BEGIN, _ERRORS_END):
            self._inside = line == _ERRORS_BEGIN
        elif self._inside or _DATABASE_ERROR.match(line):
            if line and not _HARMLESS.search(line):
                self.errors.add(line)
        elif _FATAL.search(line):
            self.failures.add(line.strip())
        elif _SNIPPET.match(line):
            self.snippets.add(line)
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
