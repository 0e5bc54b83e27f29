# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is decided about each migration, as a table; and what holds for every plan."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.filter.finish_plan import FilterModule
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._finish_estimate import Span, Work, spans

finish_plan = FilterModule().filters()["finish_plan"]

NOW = "2026-11-20T08:00:00Z"
HOUR = 3600
ALL: dict[str, t.Any] = {"max_parallel": 4, "allow_finalize": True, "allow_retry": True, "allow_paused": True}
DONE = ("finished", "finalized")
STATES = {"active": 1, "paused": 0, "failed": 4, "finalizing": 5, "finished": 3, "finalized": 6, "unknown_9": 9}


def migration(row_id: int, state: str = "active", eta: int | None = None, **values: t.Any) -> dict[str, t.Any]:
    """One as bbm_status describes it: without ``eta`` no job has succeeded yet, and 60 batches are left by its plan."""
    known = eta is not None
    return {
        "id": f"{values.get('database', 'main')}_{row_id}",
        "database": "main",
        "row_id": row_id,
        "job_class_name": f"Backfill{row_id}",
        "table_name": f"table_{row_id}",
        "status": STATES[state],
        "state": state,
        "on_hold_until": None,
        "interval_seconds": 120,
        "batch_size": 1000,
        "progress": {
            "percent": 40.0 if known else 0.0,
            "done_tuples": 40000 if known else 0,
            "total_tuples": 100000 if known else 60000,
            "basis": "tuples",
        },
        "rate": 8.3 if known else None,
        "eta_seconds": eta,
        "eta_basis": "60000 tuples left at some pace" if known else "no estimate: no job has succeeded yet",
        "jobs": {"failed": 0},
        "newest_job": None,
        "last_error": None,
        "stalled": state in ("paused", "failed"),
        "stalled_reasons": [],
        **values,
    }


def status(
    *migrations: dict[str, t.Any], version: str = "16.3.9-ee", ignored: t.Collection[str] = (), **scheduler: t.Any
) -> dict[str, t.Any]:
    """What bbm_status says, as of 16.3: two run side by side, and nothing has been set."""
    flags: dict[str, t.Any] = {
        "execute_batched_migrations_on_schedule": {"enabled": True, "set": False},
        "batched_migrations_parallel_execution": {"enabled": True, "set": False},
        "disallow_database_ddl_feature_flags": {"enabled": False, "set": False},
        "max_running": 2,
    }
    unfinished = [one["id"] for one in migrations if one["state"] not in DONE]
    return {
        "gitlab_version": version,
        "migrations": list(migrations),
        "unfinished": unfinished,
        "blocking": [name for name in unfinished if name not in ignored],
        "scheduler": {**flags, **scheduler},
        "background_migrations": {"total": 0, "pending": {}},
        "read_at": NOW,
    }


OFF = {"enabled": False, "set": True}
FAST_JOB = {
    "status": 3,
    "batch_size": 1000,
    "started_at": "2026-11-20T07:50:00Z",
    "finished_at": "2026-11-20T07:50:02Z",
}
ERROR = {"exception_class": "PG::CheckViolation", "exception_message": "row 7\nis wrong"}

# What is unfinished, how the plan is made, the action for each id, what the reasons must name, and whether it is in time.
GOLDEN: list[tuple[str, dict[str, t.Any], dict[str, t.Any], dict[str, str], list[str], t.Any]] = [
    ("nothing is left", status(migration(1, "finished")), {**ALL}, {"main_1": "nothing"}, ["finished"], True),
    ("without a deadline it waits", status(migration(1, eta=99 * HOUR)), {}, {"main_1": "wait"}, ["4 d 3 h"], None),
    (
        "in time it waits",
        status(migration(1, eta=HOUR)),
        {**ALL, "seconds_left": 2 * HOUR},
        {"main_1": "wait"},
        ["40 % done", "about 1 h, 1 h before the deadline"],
        True,
    ),
    (
        "three in a row are too slow, side by side they are not",
        status(*(migration(n, eta=HOUR) for n in (1, 2, 3))),
        {**ALL, "seconds_left": 1.5 * HOUR},
        {"main_1": "wait", "main_2": "wait", "main_3": "wait_faster"},
        ["with 2 side by side it ends in about 2 h, 30 min past", "with 3 it ends in about 1 h, 30 min before"],
        True,
    ),
    (
        "the same table is never worked on twice at once: parallelism does not help",
        status(*(migration(n, eta=HOUR, table_name="notes") for n in (1, 2, 3))),
        {**ALL, "seconds_left": 2.5 * HOUR},
        {"main_1": "wait", "main_2": "wait", "main_3": "finalize"},
        ["with 4 side by side it ends in about 3 h, 30 min past the deadline", "finalizing ends in about 1 h"],
        True,
    ),
    (
        "only what is too long by itself is finalized, and what it stood before has its place",
        status(migration(1, eta=9 * HOUR, table_name="notes"), migration(2, eta=HOUR, table_name="notes")),
        {**ALL, "seconds_left": 2 * HOUR},
        {"main_1": "finalize", "main_2": "wait"},
        ["9 h, 7 h past the deadline", "no longer than Sidekiq with its pauses"],
        True,
    ),
    (
        "what is later than an upper limit is not known to be late",
        status(migration(1, eta=9 * HOUR)),
        {**ALL, "seconds_left": 2 * HOUR},
        {"main_1": "finalize"},
        ["no longer than Sidekiq with its pauses"],
        None,
    ),
    (
        "what is late even so is said",
        status(migration(1, eta=9 * HOUR, newest_job=FAST_JOB)),
        {**ALL, "seconds_left": 60},
        {"main_1": "finalize"},
        ["finalizing ends in about 3 min, 2 min past the deadline", "60 batches of 1000, of which the newest took 3 s"],
        False,
    ),
    (
        "finalizing has no pauses",
        status(migration(1, eta=9 * HOUR, newest_job=FAST_JOB)),
        {**ALL, "seconds_left": 2 * HOUR},
        {"main_1": "finalize"},
        ["finalizing ends in about 3 min, 1 h 57 min before the deadline"],
        True,
    ),
    (
        "what is not allowed is said",
        status(migration(1, eta=9 * HOUR)),
        {"seconds_left": 2 * HOUR},
        {"main_1": "operator"},
        ["7 h past the deadline", "allow_finalize"],
        None,
    ),
    (
        "no estimate is not in time: it is watched first",
        status(migration(1)),
        {**ALL, "seconds_left": 5 * HOUR},
        {"main_1": "wait"},
        ["60 batches of 1000 are left by its plan, one each 2 min", "looked at again"],
        None,
    ),
    (
        "and given up when there is still none",
        status(migration(1)),
        {**ALL, "seconds_left": 5 * HOUR, "past": {"watched": ["main_1"]}},
        {"main_1": "finalize"},
        ["which is not in time for a deadline in 5 h"],
        None,
    ),
    (
        "nor is there time to watch it shortly before the deadline",
        status(migration(1)),
        {**ALL, "seconds_left": 500},
        {"main_1": "finalize"},
        ["2 h, 1 h 51 min past the deadline"],
        None,
    ),
    (
        "nothing known at all",
        status(migration(1, progress={"percent": None, "done_tuples": None, "total_tuples": None})),
        {"seconds_left": 500},
        {"main_1": "operator"},
        ["how far it is cannot be told", "no job has succeeded"],
        None,
    ),
    (
        "a failed one is tried again, once",
        status(migration(1, "failed", jobs={"failed": 3}, last_error=ERROR)),
        {**ALL},
        {"main_1": "retry"},
        ["failed jobs get new attempts"],
        None,
    ),
    (
        "the second time a person looks",
        status(migration(1, "failed", jobs={"failed": 3}, last_error=ERROR)),
        {**ALL, "past": {"retried": ["main_1"]}},
        {"main_1": "operator"},
        ["3 failed jobs", "PG::CheckViolation: row 7 is wrong", "failed again", "bbm_retry"],
        None,
    ),
    (
        "a failed one may not be tried again",
        status(migration(1, "failed")),
        {**ALL, "allow_retry": False},
        {"main_1": "operator"},
        ["allow_retry"],
        None,
    ),
    (
        "without Sidekiq a failed one is finalized",
        status(migration(1, "failed"), execute_batched_migrations_on_schedule=OFF),
        {**ALL},
        {"main_1": "finalize"},
        ["execute_batched_migrations_on_schedule is off"],
        None,
    ),
    (
        "14.2 cannot retry",
        status(migration(1, "failed"), version="14.2.7-ee"),
        {**ALL},
        {"main_1": "finalize"},
        ["GitLab 14.2.7-ee cannot"],
        None,
    ),
    (
        "paused by somebody",
        status(migration(1, "paused")),
        {**ALL, "allow_paused": False},
        {"main_1": "operator"},
        ["somebody paused it", "allow_paused"],
        None,
    ),
    ("paused, and allowed", status(migration(1, "paused")), {**ALL}, {"main_1": "finalize"}, ["paused"], None),
    (
        "a state that nobody knows",
        status(migration(1, "unknown_9")),
        {**ALL, "mode": "downtime"},
        {"main_1": "operator"},
        ["unknown_9"],
        None,
    ),
    (
        "the flag is off",
        status(migration(1, eta=HOUR, stalled=True, stalled_reasons=["x"]), execute_batched_migrations_on_schedule=OFF),
        {**ALL},
        {"main_1": "finalize"},
        ["waiting is pointless", "execute_batched_migrations_on_schedule is off"],
        None,
    ),
    (
        "Sidekiq is down",
        status(migration(1, stalled=True, stalled_reasons=["no worker activity for 20 min"])),
        {},
        {"main_1": "operator"},
        ["waiting is pointless: no worker activity for 20 min", "allow_finalize"],
        None,
    ),
    (
        "it did not move while it was waited for",
        status(migration(1, eta=HOUR)),
        {**ALL, "past": {"stuck": ["main_1"]}},
        {"main_1": "finalize"},
        ["nothing of it has moved"],
        None,
    ),
    (
        "GitLab holds it back for a while",
        status(migration(1, stalled=True, stalled_reasons=["on hold"], on_hold_until="2026-11-20T08:06:00Z")),
        {**ALL, "seconds_left": 5 * HOUR},
        {"main_1": "wait"},
        ["on hold for 6 min more"],
        None,
    ),
    (
        "and still does after it was watched",
        status(migration(1, stalled=True, stalled_reasons=["on hold"], on_hold_until="2026-11-20T08:06:00Z")),
        {**ALL, "seconds_left": 5 * HOUR, "past": {"watched": ["main_1"]}},
        {"main_1": "finalize"},
        ["which is not in time"],
        None,
    ),
    (
        "a finalize that was interrupted",
        status(migration(1, "finalizing", stalled=True, stalled_reasons=["an interrupted finalize"])),
        {**ALL},
        {"main_1": "finalize"},
        ["an interrupted finalize"],
        None,
    ),
    (
        "a finalize that runs is taken up",
        status(migration(1, "finalizing", eta=60)),
        {**ALL, "seconds_left": HOUR},
        {"main_1": "finalize"},
        ["runs already"],
        True,
    ),
    (
        "or waited for",
        status(migration(1, "finalizing", eta=60)),
        {"seconds_left": HOUR},
        {"main_1": "wait"},
        ["somebody's finalize runs"],
        True,
    ),
    (
        "14.0 cannot finalize",
        status(migration(1, stalled=True, stalled_reasons=["Sidekiq is down"]), version="14.0.12-ee"),
        {**ALL},
        {"main_1": "operator"},
        ["GitLab 14.0.12-ee cannot"],
        None,
    ),
    (
        "a downtime waits for nothing",
        status(migration(1, eta=60), migration(2, "failed"), migration(3, "paused"), migration(4, "finalizing")),
        {**ALL, "mode": "downtime"},
        dict.fromkeys(("main_1", "main_2", "main_3", "main_4"), "finalize"),
        ["in a downtime nothing is waited for"],
        None,
    ),
    (
        "the deadline has passed",
        status(migration(1, eta=60)),
        {**ALL, "seconds_left": -1},
        {"main_1": "operator"},
        ["the deadline has passed"],
        False,
    ),
    (
        "before 15.7 one runs after the other",
        status(*(migration(n, eta=HOUR) for n in (1, 2)), version="15.4.6-ee", max_running=None),
        {**ALL, "seconds_left": 1.5 * HOUR},
        {"main_1": "wait", "main_2": "finalize"},
        ["with 1 side by side it ends in about 2 h"],
        True,
    ),
]


@pytest.mark.parametrize(
    ("given_status", "options", "actions", "named", "in_time"),
    [row[1:] for row in GOLDEN],
    ids=[row[0] for row in GOLDEN],
)
def test_what_is_decided(
    given_status: dict[str, t.Any], options: dict[str, t.Any], actions: dict[str, str], named: list[str], in_time: t.Any
) -> None:
    plan = finish_plan(given_status, **options)
    assert {one["id"]: one["action"] for one in plan["decisions"]} == actions
    reasons = " | ".join(one["why"] for one in plan["decisions"])
    for text in named:
        assert text in reasons
    assert plan["decisions"][-1]["in_time"] is in_time


def test_the_parallelism_is_raised_only_as_far_as_needed() -> None:
    everything = status(*(migration(n, eta=HOUR) for n in range(1, 7)))
    plan = finish_plan(everything, **{**ALL, "max_parallel": 8, "seconds_left": 2.5 * HOUR})
    assert plan["parallel"]["set"] == 3
    assert plan["settings"] == {"max_running": 3}
    assert plan["actions"]["finalize"] == []
    assert any("3 side by side" in line and "put back" in line for line in plan["lines"])
    assert plan["estimate"]["in_time"] is True
    lower = finish_plan(everything, **{**ALL, "max_parallel": 1, "seconds_left": 2.5 * HOUR})
    assert (lower["parallel"]["set"], lower["settings"]) == (None, {})
    assert len(lower["actions"]["finalize"]) == 2


def test_each_database_has_its_own_places() -> None:
    both = [migration(n, eta=HOUR, database=name) for name in ("main", "ci") for n in (1, 2)]
    plan = finish_plan(status(*both), **{**ALL, "seconds_left": 1.5 * HOUR})
    assert set(plan["actions"]["wait"]) == {"main_1", "main_2", "ci_1", "ci_2"}
    assert plan["settings"] == {}


def test_in_15_7_the_flag_comes_with_the_number() -> None:
    both = [migration(n, eta=HOUR) for n in (1, 2)]
    off = status(*both, version="15.11.13-ee", batched_migrations_parallel_execution={"enabled": False, "set": False})
    plan = finish_plan(off, **{**ALL, "seconds_left": 1.5 * HOUR})
    assert plan["settings"] == {"max_running": 2, "batched_migrations_parallel_execution": True}
    some = status(*both, version="15.11.13-ee", batched_migrations_parallel_execution={"enabled": None, "set": True})
    assert finish_plan(some, **{**ALL, "seconds_left": 1.5 * HOUR})["settings"] == {}


def test_when_to_look_again() -> None:
    measured, fresh = status(migration(1, eta=HOUR)), status(migration(1))
    assert finish_plan(measured)["look_again_seconds"] == 0
    assert finish_plan(measured, seconds_left=8.0 * HOUR)["look_again_seconds"] == 2 * HOUR
    plan = finish_plan(fresh, seconds_left=8.0 * HOUR)
    assert (plan["look_again_seconds"], plan["watch"]) == (360, ["main_1"])
    assert finish_plan(fresh, seconds_left=8.0 * HOUR, review_seconds=900)["look_again_seconds"] == 900
    assert finish_plan(status(migration(1, "failed")), allow_retry=True, mode="serving")["look_again_seconds"] == 0


def test_finalizing_side_by_side_is_estimated_so() -> None:
    three = [migration(n, eta=HOUR, newest_job=FAST_JOB) for n in (1, 2, 3)]
    for parallel, seconds in ((1, 540), (2, 360), (3, 180)):
        plan = finish_plan(status(*three), **ALL, mode="downtime", finalize_parallel=parallel)
        assert plan["estimate"]["seconds"] == seconds


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "no successful result"),
        ({**status(), "failed": True}, "no successful result"),
        ({**status(migration(1)), "migrations": []}, "leaves out main_1"),
        ("text", "no successful result"),
    ],
)
def test_what_is_no_status_is_refused(wrong: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        finish_plan(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "quick"},
        {"max_parallel": -1},
        {"max_parallel": "4"},
        {"finalize_parallel": 0},
        {"review_seconds": 0},
        {"seconds_left": "soon"},
        {"seconds_left": float("nan")},
        {"allow_finalize": "false"},
        {"past": {"tried": []}},
    ],
)
def test_bad_options_are_refused(options: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleFilterError, match=next(iter(options))):
        finish_plan(status(migration(1)), **options)


@st.composite
def migrations(draw: st.DrawFn) -> list[dict[str, t.Any]]:
    found = []
    for row_id in range(1, draw(st.integers(1, 7)) + 1):
        state = draw(st.sampled_from(["active"] * 6 + list(STATES)))
        stalled = state in ("paused", "failed") or draw(st.integers(0, 9)) == 0
        eta = None if stalled or state in DONE else draw(st.none() | st.integers(0, 100 * HOUR))
        values: dict[str, t.Any] = {
            "table_name": draw(st.sampled_from("abc")),
            "database": draw(st.sampled_from(["main", "main", "ci"])),
            "stalled": stalled,
            "on_hold_until": draw(st.none() | st.sampled_from(["2026-11-20T08:09:00Z", "2026-11-20T07:00:00Z"])),
            "newest_job": draw(st.none() | st.just(FAST_JOB)),
        }
        if draw(st.booleans()):
            values["progress"] = {"percent": None, "done_tuples": None, "total_tuples": None}
        found.append(migration(row_id, state, eta, **values))
    return found


OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["serving", "serving", "downtime"]),
        "seconds_left": st.none() | st.floats(-HOUR, 200 * HOUR),
        "max_parallel": st.integers(0, 6),
        "finalize_parallel": st.integers(1, 4),
        "allow_finalize": st.booleans(),
        "allow_retry": st.booleans(),
        "allow_paused": st.booleans(),
        "past": st.fixed_dictionaries(
            {name: st.lists(st.sampled_from(["main_1", "main_2", "ci_3"])) for name in ("retried", "watched", "stuck")}
        ),
    }
)


@pytest.mark.parametrize("options", [{}, {**ALL, "seconds_left": 60}, {"seconds_left": -1}, {"mode": "downtime"}])
def test_what_can_be_ignored_is_left_alone(options: dict[str, t.Any]) -> None:
    plan = finish_plan(status(migration(1, "failed"), version="14.8.6", ignored=["main_1"]), **options)
    assert (plan["done"], plan["actions"]["nothing"], plan["order"]) == (True, ["main_1"], [])
    assert (
        plan["decisions"][0]["why"]
        == "it is failed, which can be ignored in this version of GitLab (see notes of bbm_status)"
    )
    assert plan["lines"] == [
        "All batched background migrations are finished, but for 1 that can be ignored (see notes of bbm_status)."
    ]


@given(migrations(), OPTIONS, st.sampled_from([None, 1, 2, 5]), st.sampled_from(["14.0.12", "14.2.7", "17.11.7"]))
def test_every_plan_keeps_to_what_is_allowed_and_known(
    found: list[dict[str, t.Any]], options: dict[str, t.Any], max_running: int | None, version: str
) -> None:
    given_status = status(*found, max_running=max_running, version=version)
    plan = finish_plan(given_status, **options)
    states = {one["id"]: one["state"] for one in found}
    left = options["seconds_left"]
    assert sorted(one["id"] for one in plan["decisions"]) == sorted(states)
    assert plan["done"] == (not given_status["unfinished"])
    json.dumps(plan, allow_nan=False)
    for one in plan["decisions"]:
        assert one["why"]
        state, action = states[one["id"]], one["action"]
        assert (action == "nothing") == (state in DONE)
        if state == "unknown_9":
            assert action == "operator"
        if state == "paused":
            assert action in ("operator", "finalize")
            assert options["allow_paused"] or action == "operator"
        if state == "failed":
            assert action in ("operator", "finalize", "retry")
            assert options["allow_retry"] or action == "operator"
        if action == "finalize":
            assert options["allow_finalize"] and version != "14.0.12"
        if action == "retry":
            assert options["allow_retry"] and one["id"] not in options["past"]["retried"]
        if options["mode"] == "downtime":
            assert action in ("operator", "finalize", "nothing")
        if one["in_time"] and state not in DONE:
            assert one["basis"] in ("measured", "at_most") and one["seconds"] is not None and one["seconds"] <= left + 1
        if left is not None and left <= 0 and state not in DONE:
            assert action == "operator"
    raised = plan["parallel"]["set"]
    if raised is not None:
        assert plan["parallel"]["now"] < raised <= options["max_parallel"]
        assert plan["actions"]["wait_faster"] and max_running is not None
    assert bool(plan["settings"]) == (raised is not None)
    acting = [one["id"] for one in plan["decisions"] if one["action"] not in ("nothing", "operator")]
    assert plan["order"] == acting
    if plan["estimate"]["in_time"]:
        assert not plan["actions"]["operator"] and not plan["too_late"]


@given(migrations(), OPTIONS)
def test_the_order_of_the_rows_decides_nothing(found: list[dict[str, t.Any]], options: dict[str, t.Any]) -> None:
    one = finish_plan(status(*found), **options)
    other = finish_plan(status(*reversed(found)), **options)
    assert {each["id"]: each["action"] for each in one["decisions"]} == {
        each["id"]: each["action"] for each in other["decisions"]
    }
    assert one["settings"] == other["settings"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.floats(0.001, 1e6)), max_size=8), st.integers(1, 5))
def test_no_more_than_there_are_places_and_one_for_each_table(
    given_works: list[tuple[str, float | None]], slots: int
) -> None:
    works = [Work(str(number), table, seconds) for number, (table, seconds) in enumerate(given_works)]
    found = spans(works, slots)
    begun = [(one, found[one.id]) for one in works if found[one.id].begin is not None]
    for one, span in begun:
        if one.seconds is None:
            assert span.end is None
        else:
            assert span.end is None or span.end >= span.begin
        together = [
            other
            for other, its in begun
            if its.begin <= span.begin and (its.end is None or its.end > span.begin or other is one)
        ]
        assert len(together) <= slots
        assert len({other.table for other in together}) == len(together)
    if all(one.seconds is not None for one in works):
        assert all(found[one.id].end is not None for one in works)
        longest = max((found[one.id].end for one in works), default=0)
        assert longest <= sum(one.seconds for one in works) + 1e-6


def test_what_comes_after_an_unknown_one_has_no_times() -> None:
    found = spans([Work("1", "a", None), Work("2", "a", 5.0), Work("3", "b", 7.0)], 2)
    assert found == {"1": Span(0.0, None), "2": Span(None, None), "3": Span(0.0, 7.0)}
