# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _background_migrations_clear as clear
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _state
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import ANSWER_MARK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import topology_from_option


def begun(source: str = "sidekiq", class_name: str = "Some", left: int = 0) -> str:
    event = {"database": "main", "class_name": class_name, "arguments": [1, 2], "from": source, "left": left}
    return f"{clear.EVENT_MARK}{json.dumps(event)}\n"


ANSWERED = f'{ANSWER_MARK}{{"engine": true}}\n'
TAKEN = {"database": "main", "class_name": "Some", "arguments": [1, 2]}


@pytest.mark.parametrize(
    ("log", "rc", "expected"),
    [
        (begun(), 137, TAKEN),
        (begun(), None, TAKEN),
        (begun("interrupted"), 137, TAKEN),
        (begun(class_name="Other") + begun(), 139, TAKEN),
        # The row is still pending.
        (begun("row"), 137, None),
        # Ruby heard these, and GitLab put the message back.
        (begun(), 143, None),
        (begun(), 130, None),
        (begun(), 129, None),
        (begun() + ANSWERED, 0, None),
        (begun()[:-20], 137, None),
        ("", 137, None),
    ],
)
def test_only_what_a_deaf_process_had_taken_is_lost(
    tmp_path: Path, log: str, rc: int | None, expected: dict[str, t.Any] | None
) -> None:
    (tmp_path / "log").write_text(log)
    job = Job("background_migrations", ("x",), str(tmp_path), LOST if rc is None else ENDED, 1.0, rc=rc)
    assert clear.interrupted(job) == expected


@given(st.lists(st.tuples(st.sampled_from(["A", "B::C"]), st.integers(0, 9)), max_size=8), st.integers(0, 400))
def test_a_log_that_is_cut_anywhere_tells_of_whole_lines_only(jobs: list[tuple[str, int]], cut: int) -> None:
    text = "".join("noise\n" + begun(class_name=name, left=left) for name, left in jobs)
    whole = clear.events(text)
    assert [(one["class_name"], one["left"]) for one in whole] == jobs
    part = clear.events(text[:cut])
    assert part == whole[: len(part)]


def test_what_came_by_another_connection_is_told_by_its_database() -> None:
    shared = topology_from_option({"main": "gitlabhq_production", "ci": "gitlabhq_production"})
    assert clear._by_database(shared, [{"database": "ci", "jobs": 2}]) == [{"database": "main", "jobs": 2}]


def test_what_is_remembered_is_there_until_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("read_record", "write_record", "remove_record"):
        function = getattr(_state, name)
        monkeypatch.setattr(_state, name, lambda *given, of=function: of(*given, directory=str(tmp_path)))
    assert clear.read_interrupted() == []
    clear._write_interrupted([TAKEN])
    assert clear.read_interrupted() == [TAKEN]
    clear._write_interrupted([])
    assert list(tmp_path.iterdir()) == []
