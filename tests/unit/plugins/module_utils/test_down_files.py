# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._down_files import FOREIGN, OURS, DownFiles
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError


@pytest.fixture
def files(tmp_path: Path) -> DownFiles:
    (tmp_path / "puma").mkdir()
    return DownFiles(str(tmp_path))


def test_a_file_comes_whole_and_goes_without_a_trace(files: DownFiles, tmp_path: Path) -> None:
    assert files.owner("puma") is None
    files.make("puma")
    assert files.owner("puma") == OURS
    # Who finds it reads why it is there, and what to do.
    assert "remove it, then gitlab-ctl start" in (tmp_path / "puma/down").read_text()
    assert [path.name for path in (tmp_path / "puma").iterdir()] == ["down"]
    files.remove("puma")
    files.remove("puma")
    assert list((tmp_path / "puma").iterdir()) == []


def test_a_run_that_broke_off_while_it_was_made_has_made_nothing(files: DownFiles, tmp_path: Path) -> None:
    (tmp_path / "puma/down.new").write_text("Made by")
    assert files.owner("puma") is None
    files.make("puma")
    assert files.owner("puma") == OURS
    assert not (tmp_path / "puma/down.new").exists()


# An operator's touch, what reconfigure writes for a service with "ha", and a directory: runsv asks for the name only.
@pytest.mark.parametrize("text", ["", "# File created and managed by chef!", None])
def test_what_others_made_is_theirs_and_stays(files: DownFiles, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "puma/down"
    path.mkdir() if text is None else path.write_text(text)
    assert files.owner("puma") == FOREIGN
    files.make("puma")
    assert files.owner("puma") == FOREIGN
    assert text is None or path.read_text() == text


def test_a_service_that_the_node_never_had_has_none(files: DownFiles) -> None:
    assert files.owner("praefect") is None
    files.remove("praefect")
    with pytest.raises(GitLabError, match=r"Cannot write .*praefect/down") as error:
        files.make("praefect")
    assert "become: true" in error.value.remedy


def test_what_cannot_be_read_is_not_taken_for_nothing(files: DownFiles, tmp_path: Path) -> None:
    (tmp_path / "puma/down").symlink_to("down")
    with pytest.raises(GitLabError, match="Cannot read"):
        files.owner("puma")
