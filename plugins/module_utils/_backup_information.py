# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads C(backup_information.yml), GitLab's own word on a backup: a YAML mapping of Ruby symbols, a line each."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

FILE = "backup_information.yml"

_LINE = re.compile(r"^:([a-z_]+):(?: +(.*?))? *$")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? *(Z|UTC|[+-]\d\d:?\d\d)?\Z")

# Words of SKIP that leave no part out: the archive is not made, or not uploaded.
NO_PARTS = frozenset({"tar", "remote"})


@dataclass(frozen=True)
class Information:
    """``created_at`` is ISO 8601 with its zone, None where it cannot be read."""

    gitlab_version: str
    db_version: str
    created_at: str | None
    skipped: tuple[str, ...]
    values: t.Mapping[str, str]


def parse(text: str) -> Information:
    """Read the file. Target hosts need not have PyYAML, hence no YAML library.

    :raises GitLabError: it does not say of which version of GitLab the backup is.
    """
    values = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            values[match.group(1)] = _scalar(match.group(2) or "")
    if not values.get("gitlab_version"):
        raise GitLabError(
            f"{FILE} does not say of which version of GitLab the backup is.",
            "The backup cannot be restored: make a new one.",
        )
    words = (word.strip() for word in values.get("skipped", "").split(","))
    return Information(
        gitlab_version=values["gitlab_version"],
        db_version=values.get("db_version", ""),
        created_at=_moment(values.get("backup_created_at", "")),
        skipped=tuple(sorted({word for word in words if word} - NO_PARTS)),
        values=values,
    )


def _scalar(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]
    return "" if text in ("null", "~") else text


def _moment(text: str) -> str | None:
    match = _MOMENT.match(text)
    if not match:
        return None
    zone = match.group(3) or "Z"
    return f"{match.group(1)}T{match.group(2)}{'Z' if zone == 'UTC' else zone}"
