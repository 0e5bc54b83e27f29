# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recordings in which something is chance or a matter of the machine's speed, and what must hold in them all the same."""

from __future__ import annotations

import itertools
import re
import typing as t

State = dict[str, t.Any]

MIGRATIONS = "batched_background_migrations"
JOBS = "batched_background_migration_jobs"
LOGS = "batched_background_migration_job_transition_logs"
UNTOUCHED_BY_OPTIMIZER = 6
LOWER_BOUND = 1_000
GROWTH = 1.2
# Rows that a job which was stopped half-way had copied: within the second batch of three.
HALF_WAY = range(20_001, 40_000)
WAITING = re.compile(r"(Still waiting on .*\n(?:(?!Still|All).*\n)*)\1+")


def half_way(state: State) -> State:
    """After a signal the number of copied rows only has to lie in the batch that was stopped."""
    summary = state.get("events_summary", {})
    if summary.get("rows_with_id_copied") in HALF_WAY:
        return {**state, "events_summary": {**summary, "rows_with_id_copied": "<half way>"}}
    return state


def raced(state: State) -> State:
    """Which of two processes takes which batch, and whether both take the same, is chance: the ranges and their ends are not."""
    ranges = sorted({(job["min_value"], job["max_value"], job["status"]) for job in state[JOBS]})
    return {MIGRATIONS: state[MIGRATIONS], "ranges": ranges, "events_summary": state["events_summary"]}


def optimized(state: State) -> State:
    """How far batches grow is a matter of speed: by a fifth each at most, from the lower bound, without gaps."""
    jobs = [job for job in state[JOBS] if "id" in job]
    later = jobs[UNTOUCHED_BY_OPTIMIZER:]
    pairs = list(itertools.pairwise(later))
    return {
        MIGRATIONS: [{**row, "batch_size": row["batch_size"] >= LOWER_BOUND} for row in state[MIGRATIONS]],
        JOBS: jobs[:UNTOUCHED_BY_OPTIMIZER],
        "succeeded": all(job["status"] == 3 for job in jobs),
        "grown": all(one["batch_size"] <= two["batch_size"] <= one["batch_size"] * GROWTH for one, two in pairs),
        "without gaps": all(one["max_value"] + 1 == two["min_value"] for one, two in pairs),
        "transitions": sorted({(log["previous_status"], log["next_status"]) for log in state[LOGS] if "id" in log}),
        "events_summary": state["events_summary"],
    }


REDUCED_STATES: dict[str, t.Callable[[State], State]] = {
    "finalize_two_at_once": raced,
    "finalize_optimizer_active": optimized,
}


def reduced_state(name: str, state: t.Any) -> t.Any:
    """What must hold at the end of this recording."""
    return REDUCED_STATES[name](state) if name in REDUCED_STATES else state


def counts_transitions(name: str) -> bool:
    return name not in REDUCED_STATES


def reduced_output(name: str, text: str) -> str:
    """How often `wait` looked before the end is a matter of speed."""
    return WAITING.sub(r"\1", text) if name == "wait_becomes_finished" else text
