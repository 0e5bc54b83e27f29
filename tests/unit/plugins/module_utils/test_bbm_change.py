# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_change
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import ANSWER_MARK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

ROW = {
    "id": 85,
    "job_class_name": "NoArgsJob",
    "table_name": "taggings",
    "column_name": "id",
    "job_arguments": "[]",
    "status": 4,
}


def ended(answer: object, stderr: str = "", rc: int = 0) -> CommandResult:
    return CommandResult(["gitlab-rails"], rc, f"{ANSWER_MARK}{json.dumps(answer)}\n" if answer else "", stderr)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (ended({"refused": "Its status is 3 now."}, rc=3), "Its status is 3 now"),
        (
            ended({"errors": {"main_85": {"error_class": "NameError", "error_message": "uninitialized constant X"}}}),
            "NameError: uninitialized constant X",
        ),
        (ended(None, "PG::ConnectionBad: could not connect to server\n", 1), "database"),
    ],
)
def test_the_answer_explains_what_went_wrong(done: CommandResult, said: str) -> None:
    error = _bbm_change.explain(done, "main_85")
    assert said in error.msg


def test_a_prediction_shows_the_state_and_leaves_the_row_as_it_was_read() -> None:
    before = BatchedMigration.from_row("main", ROW)
    entry = _bbm_change.describe(before, 1)
    assert (entry["id"], entry["job_arguments"], entry["changed"]) == ("main_85", [], True)
    assert (entry["before"]["state"], entry["after"]["state"]) == ("failed", "active")
    assert not _bbm_change.describe(before, before)["changed"]
    assert before.row == ROW


def test_a_job_is_shown_in_every_version_with_the_same_keys() -> None:
    old = _bbm_change.describe_job({"id": 1, "status": 2, "attempts": 3, "min_value": 1, "max_value": 9}, None)
    assert (old["state"], old["min_cursor"], old["error"]) == ("failed", None, None)
    new = _bbm_change.describe_job({"id": 1, "status": 0, "min_cursor": [1]}, {"exception_class": "E"})
    assert (new["state"], new["min_cursor"], new["error"]) == ("pending", [1], {"exception_class": "E"})
    assert old.keys() == new.keys()
