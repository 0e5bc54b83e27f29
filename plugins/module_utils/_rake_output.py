# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The form of what Rake prints: exceptions with their causes, and the progress lines of C(db:migrate).

What the texts mean is for :mod:`_failure` to say.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

MIGRATING = "migrating"
MIGRATED = "migrated"

# rsyslog writes control characters as # and three octal digits: tab, newline, carriage return, escape.
_OCTAL = re.compile(r"#0(11|12|15|33)")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LOG_PREFIX = re.compile(
    r"^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:]+: "  # syslog
    r"|\d{4}-\d\d-\d\d[T_]\d\d:\d\d:\d\d\S* (?:\S+ [^\s:\[]+\[\d+\]: )?)",  # svlogd, and syslog with ISO 8601
    re.MULTILINE,
)
# Chef marks the output of the commands that it runs.
_CHEF_MARK = re.compile(r"^([ \t]*)(?:STDOUT:|STDERR:|\[execute\]) ?", re.MULTILINE)

_ABORTED = re.compile(r"^([ \t]*)(?:\w+: )?(?:rake|rails) aborted![ \t]*$", re.MULTILINE)
_CAUSED_BY = re.compile(r"^Caused by:[ \t]*$", re.MULTILINE)
_END_OF_ERROR = re.compile(r"^(?:Tasks: TOP|\(See full trace by|---- (?:End|Begin) output of|Ran \")", re.MULTILINE)
_BACKTRACE = re.compile(r"^[ \t]*(?:from )?(?:\S.*?:\d+:in [`']|[/<]\S+:\d+$)", re.MULTILINE)
_EXCEPTION = re.compile(r"(?P<name>[A-Z]\w*(?:::[A-Z]\w*)*):(?:[ \t]+|(?=\n)|\Z)(?P<message>.*)\Z", re.DOTALL)
# How Ruby itself ends a program that Rake does not run, such as one of gitlab-rails runner.
_UNCAUGHT = re.compile(r"^(?P<rest>.*) \((?P<name>[A-Z]\w*(?:::[A-Z]\w*)*)\)$", re.MULTILINE)
_PLACE = re.compile(r":\d+:in [`'][^'\n]{1,300}': ")
_CANCELED = re.compile(r"\AAn error has occurred,\s+(?:this and )?all later\s+migrations canceled:\s*")
_TOP_TASK = re.compile(r"^[ \t]*Tasks: TOP => (\S+)", re.MULTILINE)

_MIGRATION = re.compile(
    r"(?:\b(?P<database>[a-z][a-z0-9_]*): )?== (?P<version>\d+) (?P<name>\S+): (?P<state>migrating|migrated)\b"
    r"(?: \((?P<seconds>\d+(?:\.\d+)?)s\))?"
)


@dataclass(frozen=True)
class RubyException:
    """A class and a message. Rake leaves the class of a plain RuntimeError out; it is put in here."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True)
class RakeError:
    """Why a run ended: the exception, then its causes; and where."""

    exceptions: tuple[RubyException, ...]
    backtrace: str
    # The task that was asked for, without its arguments; None where Rake does not tell.
    task: str | None

    def __str__(self) -> str:
        return "\n".join(str(exception) for exception in self.exceptions)


@dataclass(frozen=True)
class MigrationRun:
    """A migration that C(db:migrate) began, and perhaps finished."""

    # None before about 15.0, where lines have no prefix.
    database: str | None
    version: str
    name: str
    state: str
    seconds: float | None


def clean(text: str) -> str:
    """Return ``text`` as the program wrote it: without colours, log prefixes and what a terminal or syslog did."""
    text = _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CHEF_MARK.sub(r"\1", _LOG_PREFIX.sub("", text))


def find_error(text: str) -> RakeError | None:
    """Return the last error in a cleaned ``text`` that ended a run of Rake or of Rails' runner, if any."""
    aborted = list(_ABORTED.finditer(text))
    if aborted:
        return _read_aborted(text[aborted[-1].end() :], indented=bool(aborted[-1].group(1)))
    for match in _UNCAUGHT.finditer(text):
        place = _PLACE.search(match.group("rest"))
        if place:
            exception = RubyException(match.group("name"), match.group("rest")[place.end() :])
            return RakeError((exception,), text[match.start() :], None)
    return None


def applied_migrations(stdout: str) -> list[MigrationRun]:
    """Return the migrations that C(db:migrate) shows, in the order in which they began.

    One that ended has the state C(migrated) and its seconds; one that failed stays C(migrating).
    """
    runs: dict[tuple[str | None, str], MigrationRun] = {}
    for match in _MIGRATION.finditer(clean(stdout)):
        key = (match.group("database"), match.group("version"))
        # A later attempt comes last, a line that ends the same attempt stays in its place.
        if match.group("state") == MIGRATING:
            runs.pop(key, None)
        seconds = match.group("seconds")
        runs[key] = MigrationRun(*key, match.group("name"), match.group("state"), float(seconds) if seconds else None)
    return list(runs.values())


def _read_aborted(text: str, indented: bool) -> RakeError:
    if indented:
        text = "\n".join(line.strip() for line in text.split("\n"))
    task = _TOP_TASK.search(text)
    end = _END_OF_ERROR.search(text)
    body = text[: end.start()] if end else text
    exceptions = [found for part in _CAUSED_BY.split(body) for found in _read_exception(part)]
    return RakeError(tuple(exceptions), body, task.group(1) if task else None)


def _read_exception(part: str) -> t.Iterator[RubyException]:
    backtrace = _BACKTRACE.search(part)
    message = (part[: backtrace.start()] if backtrace else part).strip()
    if not message:
        return
    exception = _split(message) or RubyException("RuntimeError", message)
    canceled = _CANCELED.match(exception.message)
    if not canceled:
        yield exception
    # ActiveRecord and db:migrate put the text of the cause, with its class, into their own message.
    inner = _split(exception.message[canceled.end() if canceled else 0 :])
    if inner and (canceled or inner.name.startswith("PG::")):
        yield inner
    elif canceled:
        yield RubyException(exception.name, exception.message[canceled.end() :])


def _split(message: str) -> RubyException | None:
    match = _EXCEPTION.match(message)
    return RubyException(match.group("name"), match.group("message").strip()) if match else None
