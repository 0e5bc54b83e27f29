# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The configuration of a batched background migration as GitLab's error texts spell it. Used by :mod:`_failure` alone.

The spellings of all versions, 14.1 to 19.x, are rows of C(tests/unit/plugins/module_utils/test_failure.py).
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure_rules import words
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._ruby_literal import (
    parse_ruby_literal,
    parse_ruby_literal_at,
)

# The error has a few lines; garbage must not make the search for its parts long.
_REACH = 4000

_EXPECTED = words(
    r"Expected batched background migration for the given configuration to be marked as 'finished',"
    r" but it is '(?P<status>\w+)':"
)
_SUGGESTED = re.compile(
    r"background_migrations:finalize(?::\w+)?\[(?P<job_class_name>[\w:]+),\s*(?P<table_name>[\w.]+),"
    r"\s*(?P<column_name>\w+),\s*'?(?P<job_arguments>\[.*?\])'?\](?=\s|\Z)",
    re.DOTALL,
)
# What the task gitlab:background_migrations:wait says before it gives up.
_LISTED = re.compile(
    r"must be finalized manually:\s+Database: (?P<database>\w+)\s+(?P<status>\w+) \| (?P<job_class_name>[\w:]+),"
    r"(?P<table_name>[\w.]+),(?P<column_name>\w+),(?P<job_arguments>\[.*\])$",
    re.MULTILINE,
)
_NAMES: t.Mapping[str, re.Pattern[str]] = {
    "job_class_name": re.compile(r"[A-Z]\w*(?:::[A-Z]\w*)*\Z"),
    "table_name": re.compile(r"\w+(?:\.\w+)?\Z"),
    "column_name": re.compile(r"\w+\Z"),
}


@dataclass(frozen=True)
class Configuration:
    """What identifies a batched background migration; parts that the text does not tell are None."""

    job_class_name: str | None = None
    table_name: str | None = None
    column_name: str | None = None
    job_arguments: list[t.Any] | None = None
    # GitLab's word: active, paused, failed, finalizing.
    status: str | None = None
    # Only the task gitlab:background_migrations:wait tells.
    database: str | None = None

    @property
    def complete(self) -> bool:
        """True if its row can be found with it."""
        return None not in (self.job_class_name, self.table_name, self.column_name, self.job_arguments)


def find_unfinished(text: str) -> Configuration | None:
    """Return the migration that a cleaned ``text`` says must be finished first; None if it does not say so.

    Where the text is too damaged, only the status is there.
    """
    matches = list(_EXPECTED.finditer(text))
    if matches:
        found = _read(text[matches[-1].end() :][:_REACH]) or Configuration()
        return replace(found, status=matches[-1].group("status"))
    listed = _LISTED.search(text)
    if listed:
        found = _from_parts(listed.groupdict()) or Configuration()
        return replace(found, status=listed.group("status"), database=listed.group("database"))
    return None


def _read(text: str) -> Configuration | None:
    # The hash is exact; the suggested command helps where the hash is damaged.
    # Documents and terminals break lines, between words and inside of them.
    spellings = (text, re.sub(r"[ \t]*\n[ \t]*", "", text), re.sub(r"[ \t]*\n[ \t]*", " ", text))
    for read in (_from_hash, _from_command):
        for spelling in spellings:
            found = read(spelling)
            if found:
                return found
    return None


def _from_hash(text: str) -> Configuration | None:
    try:
        parts, _end = parse_ruby_literal_at(text, 0)
    except GitLabError:
        return None
    return _from_parts(parts) if isinstance(parts, dict) else None


def _from_command(text: str) -> Configuration | None:
    match = _SUGGESTED.search(text)
    return _from_parts(match.groupdict()) if match else None


def _from_parts(parts: t.Mapping[str, t.Any]) -> Configuration | None:
    names = {key: parts.get(key) for key in _NAMES}
    arguments = parts.get("job_arguments")
    if isinstance(arguments, str):
        arguments = _read_arguments(arguments)
    if not isinstance(arguments, list):
        return None
    if not all(isinstance(name, str) and _NAMES[key].match(name) for key, name in names.items()):
        return None
    return Configuration(**names, job_arguments=arguments)


def _read_arguments(text: str) -> t.Any:
    # GitLab puts a backslash before each comma and escapes nothing else, so that Rake's rules would not read it back.
    text = text.replace("\\,", ",")
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        pass
    try:
        # Up to 14.9 the command shows the arguments as Ruby prints them.
        return parse_ruby_literal(text)
    except GitLabError:
        return None


def _finite(text: str) -> float:
    number = float(text)
    if abs(number) < float("inf"):
        return number
    raise ValueError(f"{text} is no number of JSON")
