# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _state
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> t.Iterator[str]:
    # A host's umask must not decide who can read the records.
    before = os.umask(0o000)
    yield str(tmp_path / "state")
    os.umask(before)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_record_is_private_and_comes_back_as_it_was(directory: str) -> None:
    assert _state.read_record("services.json", directory) is None
    path = _state.write_record("services.json", {"puma": True, "sidekiq": False}, directory)
    assert _state.read_record("services.json", directory) == {"puma": True, "sidekiq": False}
    assert (mode(directory), mode(path)) == (0o700, 0o600)
    assert os.listdir(directory) == ["services.json"]


def test_a_record_is_replaced_as_a_whole(directory: str) -> None:
    _state.write_record("services.json", {"puma": True, "a long name that must not stay behind": True}, directory)
    _state.write_record("services.json", {"x": False}, directory)
    assert _state.read_record("services.json", directory) == {"x": False}


def test_a_removed_record_is_gone(directory: str) -> None:
    _state.write_record("services.json", {"puma": True}, directory)
    _state.remove_record("services.json", directory)
    assert _state.read_record("services.json", directory) is None


def test_of_two_runs_that_remove_a_record_none_fails_and_a_record_that_stays_is_told(directory: str) -> None:
    _state.write_record("services.json", {"puma": True}, directory)
    _state.remove_record("services.json", directory)
    _state.remove_record("services.json", directory)
    (pathlib.Path(directory) / "services.json").mkdir()
    with pytest.raises(GitLabError, match="Cannot write"):
        _state.remove_record("services.json", directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_record_is_never_taken_for_none(directory: str, text: str) -> None:
    path = _state.write_record("services.json", {"puma": True}, directory)
    pathlib.Path(path).write_text(text)
    with pytest.raises(GitLabError, match=r"services\.json"):
        _state.read_record("services.json", directory)


def test_who_may_not_read_a_record_is_not_told_to_remove_it(directory: str) -> None:
    (pathlib.Path(directory) / "services.json").mkdir(parents=True)
    with pytest.raises(GitLabError, match=r"Cannot read .*services\.json: .*root") as caught:
        _state.read_record("services.json", directory)
    assert "remove" not in str(caught.value)


def test_a_journal_grows_by_one_line_each(directory: str) -> None:
    path = ""
    for version in ("1", "2"):
        path = _state.append_journal("marked.jsonl", {"version": version, "reason": "a\nb"}, directory)
    assert [json.loads(line)["version"] for line in pathlib.Path(path).read_text().splitlines()] == ["1", "2"]
    assert mode(path) == 0o600


def test_where_nothing_can_be_written_the_error_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    blocked = str(tmp_path / "file")
    with pytest.raises(GitLabError, match=r"Cannot write.*root"):
        _state.write_record("services.json", {}, blocked)
    with pytest.raises(GitLabError, match="Cannot write"):
        _state.append_journal("marked.jsonl", {}, blocked)
