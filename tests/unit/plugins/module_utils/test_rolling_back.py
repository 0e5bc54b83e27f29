# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError


@pytest.mark.parametrize(
    ("record", "backup"),
    [
        (None, None),
        ({"backup": "b1", "finished_at": None}, "b1"),
        ({"backup": "b1"}, "b1"),
        ({"backup": "b1", "finished_at": 1.5}, None),
        ({}, None),
        ({"sha256": "x"}, "an unknown backup"),
    ],
)
def test_the_backup_that_an_instance_is_being_rolled_back_to(
    record: dict[str, t.Any] | None, backup: str | None
) -> None:
    assert _rolling_back.target(record) == backup


def test_what_must_not_begin_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[dict[str, t.Any] | None] = [None, {"backup": "b1", "finished_at": None}]
    monkeypatch.setattr(_rolling_back, "read_record", lambda name: records.pop(0))
    _rolling_back.refuse()
    with pytest.raises(GitLabError) as caught:
        _rolling_back.refuse()
    assert str(caught.value) == (
        "The instance is being rolled back to b1 and did not get to the end, so that its databases can be empty or half restored."
        " Run the playbook rollback again, which goes on from there."
        " If it was put right in another way, remove /var/lib/gitlab_fleet_upgrade/restore.json."
    )
