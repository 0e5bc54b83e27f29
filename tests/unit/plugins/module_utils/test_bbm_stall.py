# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import UTC, datetime, timedelta

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_progress import Jobs
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import ON_SCHEDULE, read_scheduler
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_stall import Surroundings, stalled_reasons
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
VERSION = GitLabVersion.parse("17.8.7")


def ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat()


def migration(status: int, updated: float = 1000, hold: float | None = None) -> BatchedMigration:
    until = None if hold is None else (NOW + timedelta(minutes=hold)).isoformat()
    row = {"updated_at": ago(updated), "interval": 120, "on_hold_until": until}
    return BatchedMigration("main", 7, "C", "public.things", "id", [], status, row=row)


def moved(minutes: float, **counts: t.Any) -> Jobs:
    return Jobs(last_activity=NOW - timedelta(minutes=minutes), **counts)


def running(minutes: float) -> Jobs:
    return moved(minutes, running=1, oldest_running={"id": 33, "updated_at": ago(minutes)})


def around(**values: t.Any) -> Surroundings:
    flags = values.pop("flags", {})
    return Surroundings(NOW, read_scheduler(VERSION, {"flags": flags, "max_running": 2}), **values)


NOBODY: frozenset[int] = frozenset()
SEVEN = frozenset({7})


@pytest.mark.parametrize(
    ("row", "jobs", "surroundings", "expected"),
    [
        pytest.param(migration(0), Jobs(), around(), ["it is paused"], id="paused"),
        pytest.param(migration(4), Jobs(), around(), ["it failed: retry it"], id="failed without jobs"),
        pytest.param(
            migration(4),
            moved(9, failed=3, exhausted=2),
            around(),
            ["it failed, with 3 failed jobs (2 of them without attempts left)"],
            id="failed",
        ),
        pytest.param(migration(9), Jobs(), around(), ["its status 9 is none that this collection knows"], id="unknown"),
        pytest.param(migration(1), moved(3), around(), [], id="moves"),
        pytest.param(migration(1), moved(8.9), around(), [], id="just within two intervals and five minutes"),
        pytest.param(
            migration(1),
            moved(9.1),
            around(),
            ["no worker activity for 9 min, where a batch is due every 2 min"],
            id="quiet",
        ),
        pytest.param(migration(1, updated=1), moved(900), around(), [], id="resumed a minute ago"),
        pytest.param(
            migration(1), moved(900), around(last_done=NOW - timedelta(minutes=3)), [], id="its turn has just come"
        ),
        pytest.param(migration(1), Jobs(), around(), ["no worker activity for 16 h 40 min"], id="never began"),
        pytest.param(migration(1), moved(900), around(waiting=SEVEN), [], id="waits for its turn"),
        pytest.param(
            migration(1),
            moved(900),
            around(flags={ON_SCHEDULE: []}),
            [f"the feature flag {ON_SCHEDULE} is off"],
            id="flag off",
        ),
        pytest.param(
            migration(1, hold=7), moved(900), around(), ["it is on hold until 2026-11-20T08:07:00Z"], id="on hold"
        ),
        pytest.param(migration(1, hold=-7), moved(3), around(), [], id="was on hold"),
        pytest.param(
            migration(1, hold=7),
            moved(900),
            around(vacuumed=frozenset({"things"})),
            ["it is on hold until", "autovacuum is working on the table public.things"],
            id="autovacuum",
        ),
        pytest.param(migration(1), moved(3), around(vacuumed=frozenset({"things"})), [], id="moves beside autovacuum"),
        pytest.param(migration(1), running(59), around(), [], id="a long batch"),
        pytest.param(migration(1), running(59), around(worked_on=SEVEN), [], id="a long batch with its session"),
        pytest.param(
            migration(1),
            running(11),
            around(worked_on=NOBODY),
            ["job 33 is marked running but has not changed for 11 min, and no database session works on its table"],
            id="a running job without a session",
        ),
        pytest.param(migration(1), running(9), around(worked_on=NOBODY), [], id="between two sub-batches"),
        pytest.param(
            migration(1),
            running(61),
            around(worked_on=SEVEN),
            ["job 33 is marked running but has not changed for 1 h"],
            id="stuck",
        ),
        pytest.param(migration(5), running(5), around(), [], id="a finalize works"),
        pytest.param(migration(5), moved(9), around(), [], id="a finalize between two batches"),
        pytest.param(
            migration(5),
            moved(11),
            around(),
            ["no job has moved for 11 min: an interrupted finalize"],
            id="interrupted between",
        ),
        pytest.param(
            migration(5),
            running(20),
            around(worked_on=NOBODY),
            ["job 33 is marked running", "an interrupted finalize, which only another finalize resumes"],
            id="interrupted within a batch",
        ),
        pytest.param(migration(5, updated=2), moved(600), around(), [], id="a finalize has just begun"),
        pytest.param(migration(5), moved(3), around(flags={ON_SCHEDULE: []}), [], id="a finalize needs no scheduler"),
    ],
)
def test_why_it_does_not_move(
    row: BatchedMigration, jobs: Jobs, surroundings: Surroundings, expected: list[str]
) -> None:
    reasons = stalled_reasons(row, jobs, surroundings)
    assert len(reasons) == len(expected), reasons
    for reason, words in zip(reasons, expected, strict=True):
        assert reason.startswith(words)
