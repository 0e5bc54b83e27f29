# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    BatchedMigration,
    format_id,
    native_arguments,
    parse_id,
    state_name,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError


@given(
    database=st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z", fullmatch=True),
    row_id=st.integers(min_value=1, max_value=2**63 - 1),
)
def test_an_id_is_read_as_it_was_written(database: str, row_id: int) -> None:
    assert parse_id(format_id(database, row_id)) == (database, row_id)


@pytest.mark.parametrize(
    "text", ["", "85", "main", "main_", "main_0", "main_-1", "main_85x", "main_85\n", "MAIN_85", "main_08"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(GitLabError, match=r"is not the id of a batched background migration.*such as main_85"):
        parse_id(text)


@pytest.mark.parametrize(
    ("status", "name", "done"),
    [
        (0, "paused", False),
        (1, "active", False),
        (2, "unknown_2", False),
        (3, "finished", True),
        (4, "failed", False),
        (5, "finalizing", False),
        (6, "finalized", True),
        (7, "unknown_7", False),
    ],
)
def test_only_finished_and_finalized_are_done(status: int, name: str, done: bool) -> None:
    migration = BatchedMigration("main", 1, "C", "t", "id", [], status)
    assert (state_name(status), migration.state, migration.done) == (name, name, done)


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ([], []),
        # The default of 14.0: a JSON string.
        ("[]", []),
        ('[["id"], ["id_convert_to_bigint"]]', [["id"], ["id_convert_to_bigint"]]),
        ([None, "up"], [None, "up"]),
        ("up", "up"),
        (None, None),
    ],
)
def test_arguments_are_native(stored: object, meant: object) -> None:
    assert native_arguments(stored) == meant


def test_the_row_keeps_the_arguments_as_they_are_stored() -> None:
    row = {"id": 3, "job_class_name": "C", "table_name": "t", "column_name": "id", "job_arguments": "[]", "status": 4}
    migration = BatchedMigration.from_row("ci", row)
    assert migration.id == "ci_3"
    assert migration.job_arguments == []
    assert migration.row["job_arguments"] == "[]"
    assert migration.gitlab_schema is None
