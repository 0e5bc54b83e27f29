# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import Throttle
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._waiting import Limits, Waiting, parse_deadline

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DONE = ("finished", "finalized")


def migration(
    name: str = "main_1", state: str = "active", percent: float | None = 10.0, **values: t.Any
) -> dict[str, t.Any]:
    return {
        "id": name,
        "database": name.partition("_")[0],
        "job_class_name": "BackfillX",
        "table_name": "things",
        "state": state,
        "progress": {"percent": percent},
        "rate": 100.0,
        "eta_seconds": 600,
        "eta_basis": "some",
        "stalled": False,
        "stalled_reasons": [],
        "last_activity": None,
        "last_error": None,
        "jobs": {"running": 0},
        **values,
    }


def status(*migrations: dict[str, t.Any], at: int = 0, ignored: t.Collection[str] = ()) -> dict[str, t.Any]:
    """What bbm_status says with state: [unfinished]."""
    by_state: dict[str, list[str]] = {}
    for row in migrations:
        by_state.setdefault(row["state"], []).append(row["id"])
    unfinished = [row["id"] for row in migrations if row["state"] not in DONE]
    return {
        "by_state": by_state,
        "unfinished": unfinished,
        "blocking": [name for name in unfinished if name not in ignored],
        "migrations": [row for row in migrations if row["state"] not in DONE],
        "gitlab_version": "16.3.9-ee",
        "read_at": (NOW + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def follow(limits: Limits, *steps: tuple[float, dict[str, t.Any]]) -> tuple[Waiting, list[str]]:
    now = [0.0]
    waiting = Waiting(limits, Throttle(clock=lambda: now[0]))
    lines: list[str] = []
    for seconds, seen in steps:
        now[0] = seconds
        lines += waiting.observe(seen, seconds)
    return waiting, lines


def test_a_wait_to_the_end() -> None:
    waiting, lines = follow(
        Limits(),
        (0, status(migration(percent=10.0), migration("ci_2", percent=None, eta_seconds=None, rate=None))),
        (30, status(migration(percent=10.5), migration("ci_2", "finished"))),
        (60, status(migration(percent=99.0, eta_seconds=5), migration("ci_2", "finished"))),
        (90, status(migration(state="finalized"), migration("ci_2", "finished"))),
    )
    assert lines == [
        "waiting until 2 batched background migrations are finished  about 10 min left  1 without an estimate",
        "BackfillX on things (main_1)  10 %  100 /s  about 10 min left",
        "BackfillX on things (ci_2)  ? %",
        "BackfillX on things (ci_2)  finished  100 %",
        "BackfillX on things (main_1)  99 %  100 /s  about 5 s left",
        # The other one again, a minute after it was shown.
        "BackfillX on things (main_1)  finalized  100 %",
        "BackfillX on things (ci_2)  finished  100 %",
    ]
    assert waiting.reached()
    assert waiting.failure(NOW) is None
    result = waiting.to_result()
    assert (result["left"], result["reached"], result["elapsed_seconds"]) == ([], True, 90)
    assert [row["state"] for row in result["waited_for"]] == ["finalized", "finished"]
    assert [sample["left"] for sample in result["history"]] == [2, 1, 1, 0]
    assert result["history"][0]["migrations"]["main_1"] == {
        "state": "active",
        "percent": 10.0,
        "rate": 100.0,
        "eta_seconds": 600,
        "stalled": False,
    }


def test_nothing_to_wait_for() -> None:
    waiting, lines = follow(Limits(), (0, status(migration(state="finished"))))
    assert lines == ["nothing to wait for: no chosen batched background migration is left"]
    assert waiting.reached()


def test_a_row_that_is_deleted_is_not_waited_for() -> None:
    waiting, _lines = follow(Limits(), (0, status(migration())), (30, status()))
    assert waiting.reached()
    assert waiting.to_result()["waited_for"][0]["state"] == "deleted"


def test_one_that_is_queued_meanwhile_is_waited_for() -> None:
    waiting, _lines = follow(Limits(), (0, status(migration())), (30, status(migration(), migration("main_2"))))
    assert waiting.left() == ["main_1", "main_2"]


def test_what_can_be_ignored_is_not_waited_for() -> None:
    failed = migration("main_2", "failed", stalled=True)
    waiting, _lines = follow(Limits(stall_timeout=60), (0, status(migration(), failed, ignored=["main_2"])))
    assert (waiting.left(), waiting.failure(NOW)) == (["main_1"], None)
    for seconds in (30, 120):
        waiting.observe(status(migration(state="finished"), failed, ignored=["main_2"]), seconds)
    assert (waiting.reached(), waiting.failure(NOW), waiting.to_result()["stuck"]) == (True, None, [])


@pytest.mark.parametrize(("at_most", "reached"), [(0, False), (1, False), (2, True), (3, True)])
def test_until_few_are_left(at_most: int, reached: bool) -> None:
    waiting, _lines = follow(Limits(at_most=at_most), (0, status(migration(), migration("main_2"))))
    assert waiting.reached() is reached


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (migration(), False),
        (migration(state="finalizing"), False),
        (migration(state="paused", jobs={"running": 1}), False),
        (migration(state="paused"), True),
        (migration(state="finished"), True),
    ],
)
def test_until_nothing_runs(row: dict[str, t.Any], reached: bool) -> None:
    waiting, _lines = follow(Limits(until="paused"), (0, status(row)))
    assert waiting.reached() is reached
    assert waiting.failure(NOW) is None


@pytest.mark.parametrize(
    ("limits", "steps", "words"),
    [
        pytest.param(
            Limits(),
            [(0, status(migration(state="paused")))],
            "BackfillX on things (main_1) is paused, so it never ends. Resume it (bbm_state with state: active and"
            " migrations: [main_1]) or finish it at once (bbm_finalize with migration: main_1).",
            id="paused",
        ),
        pytest.param(
            Limits(),
            [
                (0, status(migration())),
                (
                    9,
                    status(
                        migration(
                            state="failed", last_error={"exception_class": "PG::Error", "exception_message": "no space"}
                        )
                    ),
                ),
            ],
            "things (main_1) failed. Look at last_error, then retry it (bbm_retry with migration: main_1) or finish it at once"
            " (bbm_finalize with migration: main_1). Last error: PG::Error: no space",
            id="failed",
        ),
        pytest.param(
            Limits(stall_timeout=3600),
            [(0, status(migration(state="unknown_7")))],
            "things (main_1) is in a state that this collection does not know (unknown_7), so nobody can tell whether it"
            " will ever end. Update the collection, or ask GitLab what it means.",
            id="unknown",
        ),
        pytest.param(
            Limits(until="paused"),
            [(0, status(migration(state="paused"), migration("main_2", state="unknown_2")))],
            "things (main_2) is in a state that this collection does not know (unknown_2)",
            id="unknown, where only running ones matter",
        ),
        pytest.param(
            Limits(timeout=60),
            [(0, status(migration())), (60, status(migration(percent=20.0)))],
            "After 1 min (timeout), 1 of 1 are left: BackfillX on things (main_1) 20 %  100 /s  about 10 min left.",
            id="timeout",
        ),
        pytest.param(
            Limits(deadline=NOW),
            [(0, status(migration()))],
            "At the deadline 2026-11-20T08:00:00Z, 1 of 1 are left",
            id="deadline",
        ),
        pytest.param(
            Limits(stall_timeout=600),
            [
                (0, status(migration(), migration("main_2"))),
                (
                    60,
                    status(
                        migration(percent=20.0), migration("main_2", stalled=True, stalled_reasons=["it is on hold"])
                    ),
                ),
                (
                    660,
                    status(
                        migration(percent=30.0), migration("main_2", stalled=True, stalled_reasons=["it is on hold"])
                    ),
                ),
            ],
            "things (main_2) has been stalled for 10 min (stall_timeout): it is on hold.",
            id="one is stalled",
        ),
        pytest.param(
            Limits(stall_timeout=600),
            [(0, status(migration(eta_basis="no estimate: x"))), (600, status(migration(eta_basis="no estimate: x")))],
            "Nothing has moved for 10 min (stall_timeout), 1 of 1 are left",
            id="nothing moves",
        ),
    ],
)
def test_giving_up(limits: Limits, steps: list[tuple[float, dict[str, t.Any]]], words: str) -> None:
    waiting, _lines = follow(limits, *steps)
    failure = waiting.failure(NOW)
    assert failure is not None and words in failure
    assert not waiting.reached()


def test_which_ones_are_stuck_is_in_the_result() -> None:
    held = migration("main_2", stalled=True)
    steps = [(0, status(migration(), held)), (599, status(migration(percent=20.0), held))]
    assert follow(Limits(stall_timeout=600), *steps)[0].to_result()["stuck"] == []
    steps.append((600, status(migration(percent=30.0), held)))
    assert follow(Limits(stall_timeout=600), *steps)[0].to_result()["stuck"] == ["main_2"]
    assert follow(Limits(), *steps)[0].to_result()["stuck"] == []
    still = status(migration(), migration("main_2"), migration("main_3", "finished"))
    waiting, _lines = follow(Limits(stall_timeout=600), (0, still), (600, still))
    assert waiting.to_result()["stuck"] == ["main_1", "main_2"]


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        (Limits(timeout=61), [(0, status(migration())), (60, status(migration()))]),
        (Limits(deadline=NOW + timedelta(seconds=1)), [(0, status(migration()))]),
        (
            Limits(stall_timeout=600),
            [
                (0, status(migration(stalled=True))),
                (599, status(migration(percent=11.0))),
                (700, status(migration(percent=11.0, stalled=True))),
                (1100, status(migration(percent=12.0, stalled=True))),
            ],
        ),
        (Limits(), [(0, status(migration(stalled=True))), (10**6, status(migration(stalled=True)))]),
    ],
)
def test_not_giving_up_too_early(limits: Limits, steps: list[tuple[float, dict[str, t.Any]]]) -> None:
    waiting, _lines = follow(limits, *steps)
    assert waiting.failure(NOW) is None


@pytest.mark.parametrize(("minutes", "late"), [(10, False), (9, True)])
def test_an_estimate_past_the_deadline_is_said(minutes: int, late: bool) -> None:
    waiting, _lines = follow(Limits(deadline=NOW + timedelta(minutes=minutes)), (0, status(migration())))
    words = waiting.late(NOW)
    assert (words is not None) is late
    if words:
        assert words.startswith("at this pace it takes 10 min, which is 1 min past the deadline 2026-11-20T08:09:00Z")


@given(st.one_of(st.integers(0, 2000), st.integers(390, 410), st.integers(790, 810)))
def test_the_history_is_bounded_and_has_both_ends(samples: int) -> None:
    waiting, _lines = follow(
        Limits(), *((n, status(migration(percent=float(n % 100)), at=n)) for n in range(samples + 1))
    )
    history = waiting.to_result()["history"]
    assert len(history) <= 400
    assert history[0]["at"] == "2026-11-20T08:00:00Z"
    assert history[-1]["at"] == status(at=samples)["read_at"]
    assert [sample["at"] for sample in history] == sorted({sample["at"] for sample in history})


def test_what_waits_for_its_turn_leaves_the_deadline_open() -> None:
    behind = migration("main_2", eta_seconds=None, eta_basis="no estimate: it waits for its turn behind main_1")
    limits = Limits(deadline=NOW + timedelta(minutes=15))
    waiting, _lines = follow(limits, (0, status(migration(), behind)))
    (words,) = waiting.warnings(NOW)
    assert words == (
        "whether the deadline 2026-11-20T08:15:00Z is met cannot be told: main_2: no estimate: it waits for its turn behind main_1"
    )
    assert waiting.warnings(NOW) == []
    # That it is late is news all the same.
    assert [words[:12] for words in waiting.warnings(NOW + timedelta(minutes=10))] == ["at this pace"]
    waiting.observe(status(migration(), migration("main_2", state="finished")), 30)
    assert waiting.unclear() is None
    assert follow(Limits(), (0, status(behind)))[0].warnings(NOW) == []


HERE = datetime(2026, 11, 20, 22, 15, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("23:00", "2026-11-20T23:00:00+02:00"),
        (" 6:30 ", "2026-11-21T06:30:00+02:00"),
        ("22:15", "2026-11-21T22:15:00+02:00"),
        ("2026-11-22T01:00", "2026-11-22T01:00:00+02:00"),
        ("2026-11-22 01:00:05", "2026-11-22T01:00:05+02:00"),
        ("2026-11-20T20:20:00Z", "2026-11-20T20:20:00+00:00"),
    ],
)
def test_deadlines(text: str, meant: str) -> None:
    assert parse_deadline(text, HERE).isoformat() == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("24:00", "neither"),
        ("tomorrow", "neither"),
        ("", "neither"),
        ("2026-11-20T20:15:30Z", "has passed"),
        ("2020-01-01", "has passed"),
    ],
)
def test_deadlines_that_are_none(text: str, words: str) -> None:
    with pytest.raises(GitLabError, match=words):
        parse_deadline(text, HERE)
