# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_progress import (
    Jobs,
    Progress,
    Rate,
    RecentJob,
    eta,
    progress,
    rate,
)

ROW: dict[str, t.Any] = {"min_value": 1, "max_value": 1_000_000, "total_tuple_count": 800_000}


def recent(*ends: float, tuples: int = 1000, took: float = 10.0) -> tuple[RecentJob, ...]:
    return tuple(RecentJob(end - took, end, tuples, 2 * tuples) for end in ends)


@pytest.mark.parametrize(
    ("row", "jobs", "expected"),
    [
        pytest.param(ROW, Jobs(), Progress(0.0, 0, 800_000, "tuples"), id="no job yet"),
        pytest.param(
            ROW, Jobs(succeeded=3, tuples=3000), Progress(0.37, 3000, 800_000, "tuples"), id="by tuples, rounded down"
        ),
        pytest.param(
            ROW,
            Jobs(succeeded=799, tuples=799_999),
            Progress(99.99, 799_999, 800_000, "tuples"),
            id="100 only when reached",
        ),
        pytest.param(
            ROW,
            Jobs(succeeded=900, tuples=900_000),
            Progress(100.0, 900_000, 800_000, "tuples"),
            id="the estimate was too low",
        ),
        pytest.param(
            ROW,
            Jobs(succeeded=None, tuples=None, reached=500_000),
            Progress(50.0, 500_000, 1_000_000, "key_range"),
            id="too many jobs: by keys",
        ),
        pytest.param(
            dict(ROW, total_tuple_count=None),
            Jobs(succeeded=2, tuples=2000, reached=500_000, open_keys=100_000),
            Progress(40.0, 400_000, 1_000_000, "key_range"),
            id="no total: by keys, less the open jobs",
        ),
        pytest.param(
            dict(ROW, total_tuple_count=0), Jobs(), Progress(0.0, 0, 1_000_000, "key_range"), id="total 0 is no total"
        ),
        pytest.param(
            {"min_value": None, "max_value": None, "min_cursor": [1, 2], "max_cursor": [9, 9]},
            Jobs(succeeded=2, tuples=2000),
            Progress(),
            id="cursors without a total",
        ),
    ],
)
def test_progress(row: dict[str, t.Any], jobs: Jobs, expected: Progress) -> None:
    assert progress(row, jobs) == expected


@given(
    total=st.one_of(st.none(), st.integers(0, 10**12)),
    first=st.integers(1, 10**12),
    span=st.integers(0, 10**12),
    tuples=st.one_of(st.none(), st.integers(0, 10**13)),
    reached=st.one_of(st.none(), st.integers(1, 10**13)),
    open_keys=st.integers(0, 10**13),
)
def test_percent_stays_between_0_and_100_and_is_100_only_when_all_is_done(
    total: int | None, first: int, span: int, tuples: int | None, reached: int | None, open_keys: int
) -> None:
    row = {"min_value": first, "max_value": first + span, "total_tuple_count": total}
    result = progress(row, Jobs(succeeded=tuples, tuples=tuples, reached=reached, open_keys=open_keys))
    assert result.percent is not None and result.done is not None and result.total is not None
    assert 0 <= result.percent <= 100
    assert (result.percent == 100) == (result.done >= result.total)


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_done_is_never_less_percent(total: int, one: int, other: int) -> None:
    row = {"total_tuple_count": total}
    less, more = (progress(row, Jobs(tuples=value)).percent or 0.0 for value in sorted((one, other)))
    assert less <= more


@pytest.mark.parametrize(
    ("jobs", "finalizing", "expected"),
    [
        pytest.param((), False, None, id="no job"),
        pytest.param(
            recent(1000.0), False, Rate(1000 / 120, 2000 / 120, 1, 120.0), id="one job stands for an interval"
        ),
        pytest.param(recent(1000.0, took=300), False, Rate(1000 / 300, 2000 / 300, 1, 300.0), id="one slow job"),
        pytest.param(recent(1000.0), True, Rate(100.0, 200.0, 1, 10.0), id="a finalize does not wait"),
        pytest.param(recent(1000, 1120, 1240), False, Rate(2000 / 240, 4000 / 240, 2, 240.0), id="pauses count"),
        pytest.param(recent(1240, 1000, 1120), False, Rate(2000 / 240, 4000 / 240, 2, 240.0), id="in any order"),
        pytest.param(
            recent(1000, 90_000, 90_120),
            False,
            Rate(1000 / 120, 2000 / 120, 1, 120.0),
            id="a day's pause does not count",
        ),
        pytest.param(recent(1000, 1000), False, Rate(1000 / 120, 2000 / 120, 1, 120.0), id="at the same moment"),
        pytest.param((RecentJob(None, 1000.0, 5, None),), True, None, id="no start, no pace"),
        pytest.param(
            (RecentJob(0.0, 10.0, 5, None), RecentJob(10.0, 20.0, 5, None)),
            False,
            Rate(0.5, None, 1, 10.0),
            id="cursors",
        ),
    ],
)
def test_rate(jobs: tuple[RecentJob, ...], finalizing: bool, expected: Rate | None) -> None:
    assert rate(Jobs(recent=jobs), 120.0, finalizing) == expected


@pytest.mark.parametrize(
    ("reading", "pace", "seconds", "basis"),
    [
        (
            Progress(25.0, 250, 1000, "tuples"),
            Rate(2.5, 9.0, 19, 2400.0),
            300,
            "750 of 1000 tuples left at 2.5 tuples/s, as the last 19 jobs in 40 min",
        ),
        (
            Progress(25.0, 250, 1000, "key_range"),
            Rate(2.5, 5.0, 1, 120.0),
            150,
            "750 of 1000 keys left at 5 keys/s, as the last job in 2 min",
        ),
        (
            Progress(),
            Rate(2.5, 5.0, 1, 120.0),
            None,
            "no estimate: neither the number of tuples nor a range of keys is known",
        ),
        (Progress(0.0, 0, 10, "tuples"), None, None, "no estimate: no job has succeeded yet"),
        (
            Progress(100.0, 12, 10, "tuples"),
            Rate(2.5, 5.0, 1, 120.0),
            None,
            "no estimate: all 10 tuples are covered, what is left is not known",
        ),
        (
            Progress(0.0, 0, 10, "key_range"),
            Rate(2.5, None, 1, 1.0),
            None,
            "no estimate: the last jobs covered nothing",
        ),
    ],
)
def test_eta_says_what_it_rests_on(reading: Progress, pace: Rate | None, seconds: int | None, basis: str) -> None:
    assert eta(reading, pace) == (seconds, basis)


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.floats(1e-6, 1e9), st.sampled_from(["tuples", "key_range"]))
def test_the_estimate_is_enough_and_not_a_second_too_much(done: int, left: int, speed: float, basis: str) -> None:
    seconds, _words = eta(Progress(0.0, done, done + left, basis), Rate(speed, speed, 2, 1.0))
    assert seconds is not None
    assert seconds >= left / speed
    assert (seconds - 1) < left / speed


def test_jobs_are_read_from_the_answer() -> None:
    jobs = Jobs.from_answer(
        {
            "open": {
                "1": {
                    "status": 1,
                    "count": 1,
                    "exhausted": 0,
                    "keys": 500,
                    "oldest": "x",
                    "latest": "2026-11-20T07:00:00Z",
                },
                "2": {
                    "status": 2,
                    "count": 7,
                    "exhausted": 2,
                    "keys": None,
                    "oldest": "x",
                    "latest": "2026-11-20T08:00:00Z",
                },
            },
            "succeeded": {"count": 10001, "tuples": 10001000, "all": False},
            "running": {"id": 9, "updated_at": "2026-11-20T07:00:00Z", "attempts": 1},
            "newest": {"id": 10},
            "recent": [[1.5, 2.5, 1000, None]],
            "reached": {"max_value": 77, "latest": "2026-11-20T07:30:00Z"},
        }
    )
    assert (jobs.pending, jobs.running, jobs.failed, jobs.exhausted) == (0, 1, 7, 2)
    assert (jobs.succeeded, jobs.tuples) == (None, None)
    assert (jobs.open_keys, jobs.reached) == (500, 77)
    assert jobs.recent == (RecentJob(1.5, 2.5, 1000, None),)
    assert str(jobs.last_activity) == "2026-11-20 08:00:00+00:00"
    assert jobs.to_result() == {
        "pending": 0,
        "running": 1,
        "failed": 7,
        "succeeded": None,
        "exhausted": 2,
        "counted": False,
    }
