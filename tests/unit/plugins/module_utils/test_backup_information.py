# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_information import Information, parse
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

NEW = """\
:db_version: '20231121030509'
:backup_created_at: 2023-11-21 03:05:09.000000000 Z
:gitlab_version: 16.6.0-ee
:tar_version: tar (GNU tar) 1.34
:installation_type: omnibus-gitlab
:skipped: 'registry,uploads,tar,remote'
:repositories_storages: ''
:repositories_paths: ''
:repositories_server_side: false
:full_backup_id: 1700535909_2023_11_21_16.6.0-ee
"""

OLD = """\
---
:db_version: '20210611100359'
:backup_created_at: 2021-11-21 03:05:09.123456789 +0000
:gitlab_version: 14.0.12
:tar_version: tar (GNU tar) 1.30
:installation_type: gitlab-omnibus
:skipped:
"""


def of(text: str) -> Information:
    return parse(text)


def test_a_file_of_16() -> None:
    found = of(NEW)

    assert found.gitlab_version == "16.6.0-ee"
    assert found.db_version == "20231121030509"
    assert found.created_at == "2023-11-21T03:05:09Z"
    assert found.skipped == ("registry", "uploads")
    assert found.values["tar_version"] == "tar (GNU tar) 1.34"
    assert found.values["repositories_storages"] == ""


def test_a_file_of_14_with_nothing_skipped() -> None:
    found = of(OLD)

    assert found.gitlab_version == "14.0.12"
    assert found.created_at == "2021-11-21T03:05:09+0000"
    assert found.skipped == ()


@pytest.mark.parametrize("text", ["''", '""', "null", "~", "", "tar", "'remote,tar'"])
def test_forms_of_nothing_skipped(text: str) -> None:
    assert of(f":gitlab_version: 16.6.0\n:skipped: {text}\n").skipped == ()


@pytest.mark.parametrize(
    "text", ["", "---\n", ":skipped: ''\n", "gitlab_version: 14.0.12\n", ":gitlab_version:\n", "\0"]
)
def test_a_file_without_a_version_is_no_file(text: str) -> None:
    with pytest.raises(GitLabError, match="does not say"):
        of(text)


def test_a_moment_that_cannot_be_read_is_none() -> None:
    assert of(":gitlab_version: 16.6.0\n:backup_created_at: yesterday\n").created_at is None


@given(st.text(max_size=200))
def test_what_stands_around_the_version_does_not_matter(text: str) -> None:
    around = "\n".join(line for line in text.splitlines() if not line.startswith(":gitlab_version"))
    assert of(f"{around}\n:gitlab_version: 16.6.0\n{around}\n").gitlab_version == "16.6.0"
