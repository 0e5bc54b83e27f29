# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The comparison sees what matters and only that."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest

from .comparison import differences, error_text, plain_text, plain_value

RECORDINGS = Path(__file__).resolve().parent.parent / "data" / "recordings"
STEP_FIELDS = ("exit_code", "stdout", "stderr", "after_step", "schema_migrations_after")


def recording(name: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((RECORDINGS / f"{name}.json").read_text()))


def as_replayed(recorded: dict[str, t.Any]) -> dict[str, t.Any]:
    """A replay that went exactly as recorded."""
    steps = [
        {field: step[field] for field in STEP_FIELDS if field in step} for step in recorded.get("steps", [recorded])
    ]
    transitions = recorded.get("application_json_log_transitions", 0)
    log = [
        *(recorded.get("application_json_log") or []),
        *({"message": "BatchedJob transition"} for number in range(transitions)),
    ]
    return copy.deepcopy({"name": recorded["name"], "steps": steps, "after": recorded["after"], "log": log})


# Long tables are cut in the recordings; a replay has them whole.
UNCUT = sorted(path.stem for path in RECORDINGS.glob("*.json") if " rows left out of " not in path.read_text())


@pytest.mark.parametrize("name", UNCUT)
def test_a_recording_equals_itself(name: str) -> None:
    recorded = recording(name)
    assert differences(recorded, as_replayed(recorded)) == {}


def test_each_field_is_compared() -> None:
    recorded = recording("finalize_class_unknown_to_code")
    replayed = as_replayed(recorded)
    replayed["steps"][0].update(exit_code=0, stdout="Done.\n", stderr="rake aborted!\nNameError: other\n")
    replayed["after"]["batched_background_migrations"][0]["status"] = 3
    replayed["log"].append({"message": "BatchedJob transition"})
    assert set(differences(recorded, replayed)) == {"exit_code", "stdout", "stderr", "after", "transitions"}


def test_rows_and_versions_after_a_step_are_compared() -> None:
    recorded = recording("ensure_14x_active")
    replayed = as_replayed(recorded)
    replayed["steps"][0]["after_step"]["events_summary"]["rows_with_id_copied"] = 1
    replayed["steps"][1]["schema_migrations_after"] = ["20210622041846"]
    assert set(differences(recorded, replayed)) == {"0.rows", "1.schema_migrations"}


def test_a_replay_that_broke_is_a_difference() -> None:
    assert set(differences(recording("status_0"), {"name": "status_0", "error": "Traceback"})) == {"replay"}


@pytest.mark.parametrize(
    ("copied", "found"), [(21_000, set()), (39_000, set()), (20_000, {"0.rows"}), (40_000, {"0.rows"})]
)
def test_a_stopped_job_may_have_copied_a_part_of_its_batch(copied: int, found: set[str]) -> None:
    recorded = recording("finalize_sigint_then_rerun")
    replayed = as_replayed(recorded)
    replayed["steps"][0]["after_step"]["events_summary"]["rows_with_id_copied"] = copied
    assert set(differences(recorded, replayed)) == found


def test_backtraces_are_left_out_of_errors_but_messages_are_not() -> None:
    text = "rake aborted!\nArgumentError: boom\n/a/b.rb:9:in `perform'\n\nCaused by:\nPG::Error: x\nTasks: TOP => a\n"
    assert error_text(text) == "rake aborted!\nArgumentError: boom\n\nCaused by:\nPG::Error: x\nTasks: TOP => a\n"


def test_an_uncaught_error_of_the_runner_loses_its_place() -> None:
    assert (
        error_text("stdin:12:in `block in <main>': no (NoMethodError)\n\tfrom stdin:2:in `<main>'\n")
        == "no (NoMethodError)\n"
    )


def test_durations_and_database_names_are_replaced() -> None:
    assert plain_text("migrated (0.0012s)\ndatabase: gitlabhq_main_w1\n") == "migrated (<s>)\ndatabase: gitlabhq_main\n"


def test_times_and_measured_seconds_are_replaced_in_rows() -> None:
    row = {
        "created_at": "2026-11-20T07:50:06.842191+00:00",
        "metrics": {"timings": [0.5]},
        "attempts": 1,
        "finished_at": None,
    }
    assert plain_value(row) == {
        "created_at": "<ts>",
        "metrics": {"timings": ["<s>"]},
        "attempts": 1,
        "finished_at": None,
    }
