# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from rollbacks import BACK, DUMP, MANIFEST, OPTIONS

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback as rb
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_reading import read_schema

SAVED = ("20210601", "20210602", "20210611")
# The backup's own code has one more, which was down then, and has lost the file of the first.
FILES = {"20210602", "20210610", "20210611"}


class Database:
    """A database with some schema migrations; None has no table of them."""

    name, dbname = DUMP.name, DUMP.dbname

    def __init__(self, versions: t.Sequence[str] | None) -> None:
        self._versions = versions

    def read(self, parts: t.Sequence[t.Any]) -> dict[str, t.Any]:
        return {} if self._versions is None else {parts[0].name: list(self._versions)}


@pytest.mark.parametrize(
    ("saved", "versions", "beyond", "state"),
    [
        (SAVED, SAVED, (), rb.NOTHING),
        (SAVED, sorted([*SAVED, "20210610"]), (), rb.NOTHING),
        # Merged late into the newer version, with a lower number: it runs first there.
        (SAVED, sorted([*SAVED, "20210605"]), ("20210605",), rb.ROLL_BACK),
        (SAVED, [*SAVED, "20210709"], ("20210709",), rb.ROLL_BACK),
        (SAVED, None, (), rb.ROLL_BACK),
        # A manifest without the list: only what is newer can be told.
        (None, sorted([*SAVED, "20210605"]), (), rb.NOTHING),
        (None, [*SAVED, "20210709"], ("20210709",), rb.ROLL_BACK),
    ],
)
def test_what_neither_the_backup_nor_the_code_has_is_of_another_version(
    saved: tuple[str, ...] | None, versions: t.Sequence[str] | None, beyond: tuple[str, ...], state: str
) -> None:
    manifest = replace(MANIFEST, databases=(replace(DUMP, versions=saved),))
    database: t.Any = Database(versions)
    schema = read_schema(database, manifest, FILES)
    assert schema.beyond == beyond
    assert rb.state(replace(BACK, manifest=manifest, schemas=[schema]), OPTIONS) == state
