# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_remedy import known, remedy
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

ONE = ["main_1"]
TWO = ["main_1", "ci_2"]
MANY = [f"main_{number}" for number in range(1, 7)]
AT_ONCE = "finish it at once (bbm_finalize with migration: main_1)"


@pytest.mark.parametrize(
    ("state", "ids", "version", "text"),
    [
        (
            "paused",
            ONE,
            "16.3.9",
            f"resume it (bbm_state with state: active and migrations: [main_1]) or {AT_ONCE}",
        ),
        (
            "paused",
            TWO,
            None,
            "resume them (bbm_state with state: active and migrations: [main_1, ci_2])"
            " or finish them at once (bbm_finalize with migrations: [main_1, ci_2])",
        ),
        (
            "paused",
            MANY,
            "13.12.15",
            "resume them (bbm_state with state: active and migrations: the ids in by_state of bbm_status)",
        ),
        ("active", ONE, "14.0.12", "wait for it (bbm_wait)"),
        ("active", ONE, "14.1.8", f"wait for it (bbm_wait) or {AT_ONCE}"),
        ("failed", ONE, "14.2.7", f"look at last_error, then {AT_ONCE}"),
        (
            "failed",
            TWO,
            "14.3.6",
            "look at last_error, then retry them (bbm_retry with all: true)"
            " or finish them at once (bbm_finalize with migrations: [main_1, ci_2])",
        ),
        ("active", MANY, "16.3.9", "wait for them (bbm_wait) or finish them at once (bbm_finalize with all: true)"),
        (
            "failed",
            ONE,
            "14.0.12",
            "GitLab 14.0.12 can neither retry (from 14.3 on) nor finalize it (from 14.1 on): look for the error in"
            " /var/log/gitlab/sidekiq/current, and ask GitLab's support",
        ),
        (
            "finalizing",
            ONE,
            "18.2.8",
            "a finalize runs, or was interrupted: only another finalize resumes it (bbm_finalize with migration: main_1)",
        ),
        ("unknown_7", ONE, "19.2.4", "update the collection, or ask GitLab what it means"),
    ],
)
def test_the_exact_task_for_each_state_and_version(state: str, ids: list[str], version: str | None, text: str) -> None:
    assert remedy(state, ids, GitLabVersion.parse(version) if version else None) == text


@pytest.mark.parametrize(("state", "expected"), [("active", True), ("finalized", True), ("unknown_2", False)])
def test_known(state: str, expected: bool) -> None:
    assert known(state) is expected
