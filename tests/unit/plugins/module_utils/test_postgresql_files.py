# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._postgresql_files import (
    Files,
    broken_off,
    read_files,
)


def lay_out(root: Path, data: dict[str, str | None], programs: tuple[str, ...], linked: str | None) -> Files:
    """Make data directories with what is in their PG_VERSION, folders of programs and the link, and read them."""
    for name, version in data.items():
        (root / "var" / name).mkdir(parents=True)
        if version is not None:
            (root / "var" / name / "PG_VERSION").write_text(version)
    for name in programs:
        (root / "postgresql" / name / "bin").mkdir(parents=True)
    (root / "bin").mkdir()
    if linked:
        (root / "bin" / "postgres").symlink_to(root / "postgresql" / linked / "bin" / "postgres")
    return read_files(str(root / "var" / "data"), str(root / "postgresql"), str(root / "bin" / "postgres"))


@pytest.mark.parametrize(
    ("data", "programs", "linked", "expected"),
    [
        pytest.param({"data": "16\n"}, ("16",), "16", Files(16, 16, (), (16,)), id="never upgraded"),
        pytest.param(
            {"data": "17\n", "data.16": "16\n"}, ("16", "17"), "17", Files(17, 17, (16,), (16, 17)), id="upgraded"
        ),
        pytest.param(
            {"data": "17\n", "data.16": None}, ("17",), "17", Files(17, 17, (), (17,)), id="nothing kept in it"
        ),
        pytest.param(
            {"data": "17\n", "data.16": "15\n"}, ("17",), "17", Files(17, 17, (), (17,)), id="others kept in it"
        ),
        pytest.param(
            {"data": "17\n", "data.failed": "16\n", "data.16.old": "16\n", "data16": "16\n"},
            ("17", "new"),
            "17",
            Files(17, 17, (), (17,)),
            id="other names",
        ),
        pytest.param(
            {"data": "17\n", "data.9": "9\n", "data.16": "16\n"},
            ("9", "16", "17"),
            "17",
            Files(17, 17, (9, 16), (9, 16, 17)),
            id="by number",
        ),
        pytest.param({"data": "9.6\n"}, (), None, Files(None, None), id="before majors were numbers"),
        pytest.param({}, (), None, Files(None, None), id="no PostgreSQL"),
    ],
)
def test_what_is_there(
    tmp_path: Path, data: dict[str, str | None], programs: tuple[str, ...], linked: str | None, expected: Files
) -> None:
    assert lay_out(tmp_path, data, programs, linked) == expected


def test_data_elsewhere_are_followed_as_gitlab_ctl_does(tmp_path: Path) -> None:
    for name, version in (("pg[1]", "17\n"), ("pg[1].16", "16\n")):
        (tmp_path / "mnt" / name).mkdir(parents=True)
        (tmp_path / "mnt" / name / "PG_VERSION").write_text(version)
    (tmp_path / "data").symlink_to(tmp_path / "mnt" / "pg[1]")
    assert read_files(str(tmp_path / "data"), "/nowhere", "/nowhere") == Files(17, None, (16,))


@pytest.mark.parametrize(
    ("files", "said", "remedy"),
    [
        (
            Files(None, 17, (15, 16), (16, 17)),
            "ended while it put that back",
            "data && gitlab-ctl revert-pg-upgrade -w -V 16.",
        ),
        (
            Files(16, 17, (), (16, 17)),
            "the programs in /opt/gitlab/embedded/bin are of 17",
            "revert-pg-upgrade -w -V 16,",
        ),
        (Files(17, 16, (16,), (16, 17)), "The data are of PostgreSQL 17", "revert-pg-upgrade -w -V 17,"),
        (
            Files(17, 16, (16,), (16,)),
            "The data are of PostgreSQL 17",
            "the package of GitLab again that brings PostgreSQL 17.",
        ),
    ],
)
def test_a_change_that_was_broken_off_is_told(files: Files, said: str, remedy: str) -> None:
    found = broken_off(files)
    assert found is not None
    assert said in found[0]
    assert remedy in found[1]


@pytest.mark.parametrize(
    "files", [Files(16, 16), Files(17, 17, (16,), (16, 17)), Files(16, None), Files(None, 16), Files(None, None)]
)
def test_what_is_no_such_change_is_not_told(files: Files) -> None:
    assert broken_off(files) is None
