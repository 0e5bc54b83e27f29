# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ruby that finishes many, with an engine as old as no test instance has it (before 14.4)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _ruby_bbm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_many import (
    Course,
    command,
    read_courses,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

ENGINE = Path(__file__).with_name("old_engine.rb")


def migrations(*ids: int, database: str = "main") -> list[BatchedMigration]:
    rows = [
        {
            "id": number,
            "status": 1,
            "job_class_name": f"Job{number}",
            "table_name": f"t{number // 10}",
            "column_name": "id",
            "job_arguments": [],
        }
        for number in ids
    ]
    return [BatchedMigration.from_row(database, row) for row in rows]


def start(chosen: t.Sequence[BatchedMigration], parallel: int, pool: int = 5, **more: str) -> subprocess.Popen[str]:
    argv = command(chosen, parallel, Installation.create("omnibus"))
    arguments = argv[argv.index(_ruby_bbm.FINALIZE_MANY) + 1 :]
    return subprocess.Popen(
        ["ruby", "-r", str(ENGINE), "-e", _ruby_bbm.FINALIZE_MANY, *arguments],
        env={**os.environ, "POOL": str(pool), "LC_ALL": "C.UTF-8", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_once(errors: str) -> int:
    """The largest number of finalizes that ran at the same time."""
    running = most = 0
    for line in errors.splitlines():
        running += {"begin": 1, "end": -1}.get(line.split()[0], 0)
        most = max(most, running)
    return most


def ended(output: str) -> dict[str, Course]:
    courses = read_courses(output)
    assert all(course.ended_at is not None for course in courses.values())
    return courses


@pytest.mark.parametrize(("parallel", "pool", "expected"), [(1, 5, 1), (3, 11, 3), (8, 11, 4), (8, 3, 2), (2, 1, 1)])
def test_so_many_at_once_as_are_wanted_and_as_the_pool_has_room_for(parallel: int, pool: int, expected: int) -> None:
    chosen = migrations(10, 11, 20, 30, 40)
    process = start(chosen, parallel, pool)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    courses = ended(output)
    assert set(courses) == {one.id for one in chosen}
    assert all(course.did_nothing for course in courses.values())
    assert at_once(errors) == expected
    lines = errors.splitlines()
    assert lines.index("end Job10") < lines.index("begin Job11")


def test_what_is_refused_or_fails_is_told_and_ends_nobody_elses_work() -> None:
    process = start(migrations(50, 51, 60, 70, 80, 90), 2)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    courses = ended(output)
    assert {one: course.refused for one, course in courses.items() if course.refused} == {
        "main_60": "Its status is 6.",
        "main_70": "There is no row with this id.",
        "main_80": "The row with this id is another migration now.",
    }
    assert "\ufffdnot here (NotImplementedError)" in (courses["main_50"].error or "")
    assert {one for one, course in courses.items() if course.did_nothing} == {"main_51", "main_90"}


def test_a_database_that_this_version_cannot_have_is_refused() -> None:
    process = start([*migrations(10, database="ci"), *migrations(20)], 1)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    courses = ended(output)
    assert courses["ci_10"].refused == "This version of GitLab has no connection named ci."
    assert courses["main_20"].did_nothing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_all_that_run_and_nothing_is_begun_any_more(number: signal.Signals) -> None:
    process = start(migrations(10, 11, 20, 30), 2, HANG="1")
    assert process.stderr is not None
    assert {process.stderr.readline() for _line in range(2)} == {"begin Job10\n", "begin Job20\n"}
    # Both are in the middle of their work.
    time.sleep(0.5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == -number
    assert sorted(line for line in errors.splitlines() if line.startswith("given")) == [
        "given back Job10",
        "given back Job20",
    ]
    courses = ended(output)
    assert set(courses) == {"main_10", "main_20"}
    assert all(
        number.name in (course.error or "") or "Interrupt" in (course.error or "") for course in courses.values()
    )
