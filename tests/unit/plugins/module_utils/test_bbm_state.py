# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_state
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    ACTIVE,
    FAILED,
    FINALIZED,
    FINALIZING,
    FINISHED,
    PAUSED,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

EVERY = [PAUSED, ACTIVE, FINISHED, FAILED, FINALIZING, FINALIZED, 2, 9]


def migration(status: int, interval: int = 120) -> BatchedMigration:
    row = {
        "id": 85,
        "job_class_name": "NoArgsJob",
        "table_name": "taggings",
        "column_name": "id",
        "job_arguments": [],
        "status": status,
        "interval": interval,
    }
    return BatchedMigration.from_row("main", row)


def outcome(status: int, wanted: int) -> bool | None:
    try:
        return _bbm_state.needs_change(migration(status), wanted)
    except GitLabError as error:
        return None if "main_85" in error.msg and error.remedy else True


@pytest.mark.parametrize(
    ("wanted", "changed", "left_alone"),
    [
        (PAUSED, {ACTIVE}, {PAUSED}),
        (ACTIVE, {PAUSED}, {ACTIVE}),
        (FINISHED, {FAILED}, {FINISHED, FINALIZED}),
    ],
)
def test_one_state_leads_to_each_state_and_every_other_is_refused(
    wanted: int, changed: set[int], left_alone: set[int]
) -> None:
    assert {status for status in EVERY if outcome(status, wanted)} == changed
    assert {status for status in EVERY if outcome(status, wanted) is False} == left_alone


@pytest.mark.parametrize("status", EVERY)
def test_only_a_failed_migration_can_be_retried(status: int) -> None:
    if status == FAILED:
        _bbm_state.refuse_retry(migration(status))
        return
    with pytest.raises(GitLabError, match="main_85") as raised:
        _bbm_state.refuse_retry(migration(status))
    assert raised.value.remedy


def test_a_failed_migration_is_sent_to_retry() -> None:
    with pytest.raises(GitLabError, match="bbm_retry"):
        _bbm_state.needs_change(migration(FAILED), ACTIVE)


@pytest.mark.parametrize(("text", "possible"), [("14.2.7", False), ("14.3.0", True), ("17.11.7", True)])
def test_retry_is_as_old_as_gitlab_14_3(text: str, possible: bool) -> None:
    if possible:
        _bbm_state.refuse_version(GitLabVersion.parse(text))
        return
    with pytest.raises(GitLabError, match=r"14\.3 and later"):
        _bbm_state.refuse_version(GitLabVersion.parse(text))


def test_a_pause_is_watched_until_the_next_batch_would_have_been_due() -> None:
    assert _bbm_state.window(None, [migration(ACTIVE), migration(ACTIVE, 300)]) == 360
    assert _bbm_state.window(7, [migration(ACTIVE)]) == 7
    assert _bbm_state.window(0, [migration(ACTIVE)]) == 0
    with pytest.raises(GitLabError, match="confirm_seconds cannot be -1"):
        _bbm_state.window(-1, [migration(ACTIVE)])


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        ({"reason": None}, "reason is empty"),
        ({"reason": " "}, "reason is empty"),
        ({"accept_data_loss": False}, "accept_data_loss: true"),
        ({"without_backup": False}, "without_backup: true"),
    ],
)
def test_every_gate_of_marking_finished_must_be_open(gates: dict[str, t.Any], said: str) -> None:
    opened: dict[str, t.Any] = {"reason": "told so", "accept_data_loss": True, "without_backup": True}
    _bbm_state.refuse_finishing(**opened, no_backup=lambda: "there is none")
    with pytest.raises(GitLabError, match=said):
        _bbm_state.refuse_finishing(**{**opened, **gates}, no_backup=lambda: "there is none")


def test_a_proven_backup_opens_the_gate_and_is_asked_for_last() -> None:
    asked = []
    opened: dict[str, t.Any] = {"reason": "told so", "accept_data_loss": True, "without_backup": False}
    _bbm_state.refuse_finishing(**opened, no_backup=lambda: asked.append("once"))
    with pytest.raises(GitLabError):
        _bbm_state.refuse_finishing(**{**opened, "reason": ""}, no_backup=lambda: asked.append("twice"))
    assert asked == ["once"]
