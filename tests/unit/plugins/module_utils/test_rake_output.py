# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import (
    MIGRATED,
    MIGRATING,
    MigrationRun,
    RubyException,
    applied_migrations,
    clean,
    find_error,
)

RECORDINGS = pathlib.Path(__file__).parents[3] / "data" / "recordings"


def recorded(name: str, step: int = 0) -> str:
    recording = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    found = recording.get("steps", [recording])[step]
    return str(found["stdout"] + found["stderr"])


ONE = """\
main: == [advisory_lock_connection] object_id: 173580, pg_backend_pid: 5532
main: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrating =========
main: -- transaction_open?(nil)
main:    -> 0.0000s
main: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrated (0.0335s)

ci: == 20240321051307 FinalizeBackfillDefaultOrganizationUsers: migrating =========
"""
NAME = "FinalizeBackfillDefaultOrganizationUsers"
ONE_RUNS = [
    MigrationRun("main", "20240321051307", NAME, MIGRATED, 0.0335),
    MigrationRun("ci", "20240321051307", NAME, MIGRATING, None),
]
AGAIN = """\
== 20220101000000 First: migrating ===
== 20220102000000 Second: migrating ===
== 20220101000000 First: migrating ===
== 20220101000000 First: migrated (1.5000s) ===
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Done.\n", []),
        ("main: == [advisory_lock_connection] object_id: 1, pg_backend_pid: 2\n", []),
        (ONE, ONE_RUNS),
        (ONE.replace("\n", "\r\n"), ONE_RUNS),
        ("\n".join(f"      [execute] \x1b[0m{line}" for line in ONE.split("\n")), ONE_RUNS),
        ("\n".join(f"2026-11-20_07:16:45.12345 {line}" for line in ONE.split("\n")), ONE_RUNS),
        (
            AGAIN,
            [
                MigrationRun(None, "20220102000000", "Second", MIGRATING, None),
                MigrationRun(None, "20220101000000", "First", MIGRATED, 1.5),
            ],
        ),
        (
            "== 1 First: migrating\n== 2 Second: migrating\n== 1 First: migrating\n",
            [MigrationRun(None, "2", "Second", MIGRATING, None), MigrationRun(None, "1", "First", MIGRATING, None)],
        ),
        (
            "a: == 1 First: migrating\nb: == 1 First: migrating\na: == 1 First: migrated (1s)\n",
            [MigrationRun("a", "1", "First", MIGRATED, 1.0), MigrationRun("b", "1", "First", MIGRATING, None)],
        ),
        ("== 1 Odd::Name: migrated (12s) ==", [MigrationRun(None, "1", "Odd::Name", MIGRATED, 12.0)]),
        ("== 20220101000000 First: reverting ===", []),
    ],
)
def test_applied_migrations(text: str, expected: list[MigrationRun]) -> None:
    assert applied_migrations(text) == expected


def test_applied_migrations_of_recordings() -> None:
    runs = applied_migrations(recorded("migrate_pending_announce_database"))
    # The second is an older migration, which does not announce its database.
    assert [(run.database, run.version, run.name, run.state) for run in runs] == [
        ("main", "20220106111958", "CreateGadgets", MIGRATED),
        (None, "20220215190020", "CreatePostThings", MIGRATED),
    ]
    assert all(run.seconds for run in runs)
    failed = applied_migrations(recorded("migrate_duplicate_table"))
    assert failed == [MigrationRun(None, "20151103134857", "CreateLfsObjects", MIGRATING, None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred\x1b[0m \x1b[1;4mx\x1b[m \x1b]0;title\x07y", "red x y"),
        ("a#011b#012c#033[0md#099", "a\tb\nc" + "d#099"),
        ("Nov  2 07:16:45 host gitlab-rake[12]: text: more", "text: more"),
        ("2026-11-20T07:16:45.1+00:00 host rake[12]: text", "text"),
        ("    STDOUT: text\n    STDERR:\n", "    text\n    \n"),
        ("  [execute] text", "  text"),
        ("plain: text", "plain: text"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_an_error_has_its_causes_and_its_task() -> None:
    error = find_error(recorded("migrate_duplicate_table"))
    assert error is not None
    exists = RubyException("PG::DuplicateTable", 'ERROR:  relation "lfs_objects" already exists')
    assert error.exceptions[0] == exists
    assert error.exceptions[-1] == exists
    assert RubyException("ActiveRecord::StatementInvalid", f"{exists}") in error.exceptions
    assert error.task == "db:migrate"
    assert "active_record" in error.backtrace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Done.", None),
        ("rake aborted!\n", ()),
        ("rake aborted!\nno class", (RubyException("RuntimeError", "no class"),)),
        ("rails aborted!\nA::B: x\n(See full trace by running)", (RubyException("A::B", "x"),)),
        ("rake aborted!\nInterrupt: \nTasks: TOP => x", (RubyException("Interrupt", ""),)),
        (
            "rake aborted!\nA: one\n\nmore\n/x.rb:1:in `y'\n\nCaused by:\nB: two\nlib/z.rb:2:in 'Z#z'\n",
            (RubyException("A", "one\n\nmore"), RubyException("B", "two")),
        ),
        (
            "rake aborted!\nOld: one\nTasks: TOP => x\n\nrake aborted!\nNew: two\nTasks: TOP => y\n",
            (RubyException("New", "two"),),
        ),
    ],
)
def test_find_error(text: str, expected: tuple[RubyException, ...] | None) -> None:
    error = find_error(text)
    assert (error.exceptions if error else None) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x1b"))))
def test_colours_and_line_ends_of_a_terminal_leave_no_trace(lines: list[str]) -> None:
    dressed = "\r\n".join(f"\x1b[1;31m{line}\x1b[0m" for line in lines)
    assert clean(dressed) == clean("\n".join(lines))
