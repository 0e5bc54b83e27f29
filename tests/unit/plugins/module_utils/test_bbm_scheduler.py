# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import UTC, datetime

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import (
    NO_DDL_FLAGS,
    ON_SCHEDULE,
    OPTIMIZE,
    PARALLEL,
    Flag,
    read_scheduler,
    running_now,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("version", "flag", "expected"),
    [
        ("13.11.0", ON_SCHEDULE, Flag(False, False)),
        ("13.12.15", ON_SCHEDULE, Flag(True, False)),
        ("19.2.4", ON_SCHEDULE, Flag(True, False)),
        ("13.11.0", OPTIMIZE, Flag(None, False)),
        ("18.3.0", OPTIMIZE, Flag(True, False)),
        ("18.4.0", OPTIMIZE, Flag(True, False)),
        ("15.6.0", PARALLEL, Flag(None, False)),
        ("15.7.0", PARALLEL, Flag(False, False)),
        ("16.1.0", PARALLEL, Flag(True, False)),
        ("16.3.9", NO_DDL_FLAGS, Flag(None, False)),
        ("16.4.0", NO_DDL_FLAGS, Flag(False, False)),
    ],
)
def test_without_a_row_the_default_of_the_version_holds(version: str, flag: str, expected: Flag) -> None:
    scheduler = read_scheduler(GitLabVersion.parse(version), {"flags": {}})
    assert scheduler.flags[flag] == expected


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ([["boolean", "true"]], Flag(True, True)),
        # Feature.disable leaves the row and removes the gates.
        ([], Flag(False, True)),
        ([["actors", "Project:1"]], Flag(None, True)),
        ([["percentage_of_time", "50"]], Flag(None, True)),
        ([["actors", "Project:1"], ["boolean", "true"]], Flag(True, True)),
    ],
)
def test_with_a_row_its_gates_decide(gates: list[list[str]], expected: Flag) -> None:
    scheduler = read_scheduler(GitLabVersion.parse("16.3.9"), {"flags": {ON_SCHEDULE: gates}})
    assert scheduler.flags[ON_SCHEDULE] == expected


def test_without_the_tables_nothing_is_known() -> None:
    scheduler = read_scheduler(GitLabVersion.parse("16.3.9"), {})
    assert scheduler.flags[ON_SCHEDULE] == Flag(None, False)
    assert scheduler.max_running is None


def test_a_row_that_an_old_version_left_changes_nothing() -> None:
    scheduler = read_scheduler(GitLabVersion.parse("18.8.0"), {"flags": {OPTIMIZE: []}})
    assert scheduler.flags[OPTIMIZE] == Flag(True, False)


@pytest.mark.parametrize(
    ("version", "flags", "words"),
    [
        ("16.3.9", {}, None),
        ("16.3.9", {ON_SCHEDULE: []}, "execute_batched_migrations_on_schedule is off"),
        ("13.11.0", {}, "execute_batched_migrations_on_schedule is off"),
        ("17.0.0", {NO_DDL_FLAGS: [["boolean", "true"]]}, "disallow_database_ddl_feature_flags is on"),
        ("16.3.9", {NO_DDL_FLAGS: [["boolean", "true"]]}, None),
    ],
)
def test_what_stops_everything(version: str, flags: dict[str, t.Any], words: str | None) -> None:
    stopped = read_scheduler(GitLabVersion.parse(version), {"flags": flags}).stopped_by
    assert (stopped is None) == (words is None)
    assert (words or "") in (stopped or "")


def migrations(*rows: tuple[int, str, int, str | None]) -> list[BatchedMigration]:
    return [
        BatchedMigration("main", row_id, "C", table, "id", [], status, row={"on_hold_until": hold})
        for row_id, table, status, hold in rows
    ]


@pytest.mark.parametrize(
    ("version", "answers", "running"),
    [
        ("14.0.12", {"flags": {}}, [1]),
        ("15.8.0", {"flags": {}, "max_running": 2}, [1]),
        ("15.8.0", {"flags": {PARALLEL: [["boolean", "true"]]}, "max_running": 2}, [1, 4]),
        ("17.8.7", {"flags": {}, "max_running": 2}, [1, 4]),
        ("17.8.7", {"flags": {}, "max_running": 4}, [1, 4, 5]),
        (None, {"flags": {}, "max_running": 2}, [1, 4]),
    ],
)
def test_who_runs_and_who_waits(version: str | None, answers: dict[str, t.Any], running: list[int]) -> None:
    rows = migrations(
        (5, "c", 1, None),
        (1, "a", 1, "2026-11-20T07:00:00Z"),
        (2, "b", 0, None),
        (3, "a", 1, None),
        (4, "b", 1, None),
        (6, "d", 1, "2026-11-20T09:00:00Z"),
        (7, "e", 3, None),
    )
    scheduler = read_scheduler(GitLabVersion.parse(version) if version else None, answers)
    now_running, waiting = running_now(rows, scheduler, NOW)
    assert [row.row_id for row in now_running] == running
    assert [row.row_id for row in waiting] == [row_id for row_id in (1, 3, 4, 5) if row_id not in running]
