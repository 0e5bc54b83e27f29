# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rolling_back import Rollback


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, None),
        ({"backup": "b1", "finished_at": None}, Rollback("b1")),
        ({"backup": "b1"}, Rollback("b1")),
        ({"backup": "b1", "rollback": True}, Rollback("b1")),
        # gitlab_restore alone; and in the role, which has more to prove.
        ({"backup": "b1", "finished_at": 1.5}, None),
        ({"backup": "b1", "finished_at": 1.5, "rollback": False}, None),
        ({"backup": "b1", "finished_at": 1.5, "rollback": True}, Rollback("b1", restored=True)),
        ({}, None),
        ({"sha256": "x"}, Rollback("an unknown backup")),
    ],
)
def test_the_rollback_that_is_under_way(record: dict[str, t.Any] | None, expected: Rollback | None) -> None:
    assert _rolling_back.target(record) == expected


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


def test_one_that_is_restored_is_refused_in_other_words() -> None:
    error = Rollback("b1", restored=True).error()
    assert error.msg == (
        "The instance was restored from b1, but its rollback did not get to the end, so that nodes can still have another version."
    )
    assert error.remedy.startswith("Run the playbook rollback again, which goes on from there.")


WHOLE = {"backup": "b1", "sha256": "1", "database_only": False, "finished_at": None}


@pytest.mark.parametrize(
    ("record", "begun"),
    [
        (None, False),
        (WHOLE, True),
        ({**WHOLE, "unpacked": False}, False),
        ({**WHOLE, "database_only": True}, False),
        ({**WHOLE, "finished_at": 1.5}, False),
        ({**WHOLE, "unpacked": False, "files": True}, True),
        ({**WHOLE, "database_only": True, "files": True}, True),
    ],
)
def test_files_that_may_be_half_restored_are_not_left_to_the_databases_alone(
    record: dict[str, t.Any] | None, begun: bool
) -> None:
    assert _rolling_back.files_begun(record) is begun
    assert _rolling_back.half_restored(record, database_only=False) is None
    problem = _rolling_back.half_restored(record, database_only=True)
    assert (problem is not None) is begun
    if problem is not None:
        assert "(b1)" in problem[0]


STEPS: dict[str, t.Callable[[dict[str, t.Any] | None, str, bool], dict[str, t.Any]]] = {
    "role": lambda record, name, alone: _rolling_back.begin(record, name, name, alone, rollback=True),
    "clean": lambda record, name, _alone: _rolling_back.begin(record, name, name),
    "restore": lambda record, name, alone: _rolling_back.restore(record, name, name, alone),
    "finish": lambda record, name, alone: _rolling_back.finish(record, name, name, alone, 1.5),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from("ab"), st.booleans()), max_size=8))
def test_no_order_of_beginnings_forgets_what_is_half_restored_or_that_nodes_are_to_be_proved(
    history: list[tuple[str, str, bool]],
) -> None:
    record: dict[str, t.Any] | None = None
    half = role = False
    for step, name, alone in history:
        # As gitlab_restore and the role do.
        if _rolling_back.half_restored(record, alone) and step != "clean":
            assert half
            continue
        record = STEPS[step](record, name, alone)
        half = (half or (step == "restore" and not alone)) and step != "finish"
        role = role or step == "role"
        assert _rolling_back.files_begun(record) is half
        assert _rolling_back.target(record) == (
            Rollback(name, restored=step == "finish") if role or step != "finish" else None
        )
        assert (record["backup"], record["sha256"]) == (name, name)


def test_a_record_that_is_begun_again_keeps_what_it_says() -> None:
    record = _rolling_back.restore(None, "a", "a", database_only=False)
    assert _rolling_back.begin(record, "a", "a", database_only=True, rollback=True) == {**record, "rollback": True}
