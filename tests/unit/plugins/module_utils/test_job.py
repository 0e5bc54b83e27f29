# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import (
    parse_stat,
    parse_status,
    session_carrier,
    systemd_carrier,
    tail,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job_poll import Look, parse_look

AFTER_NAME = "S 1 42 42 0 -1 4194560 94 0 0 0 0 0 0 0 20 0 1 0 2213055 2543616 222 18446744073709551615 1 1 0"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"42 (sh) {AFTER_NAME}\n", (42, 2213055)),
        (f"42 (puma: 5.6.5 (unix) [gitlab]) {AFTER_NAME}", (42, 2213055)),
        ("", None),
        ("42 (sh) S 1 42", None),
        ("garbage", None),
    ],
)
def test_parse_stat(line: str, expected: tuple[int, int] | None) -> None:
    assert parse_stat(line) == expected


@given(name=st.text(min_size=1, max_size=15), pid=st.integers(1, 2**22))
def test_no_name_of_a_program_hides_its_start_time(name: str, pid: int) -> None:
    assert parse_stat(f"{pid} ({name}) {AFTER_NAME}") == (pid, 2213055)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0 1795159793\n", (0, 1795159793.0)), ("137 1795159793\n", (137, 1795159793.0)), ("", None), ("0", None)],
)
def test_parse_status(text: str, expected: tuple[int, float] | None) -> None:
    assert parse_status(text) == expected


def test_a_session_carrier_adds_no_shell_of_its_own() -> None:
    argv = ["gitlab-rake", 'x[a,[["id"]\\,null]]']
    assert session_carrier("/jobs/x/run", argv) == ["setsid", "--fork", "/bin/sh", "/jobs/x/run", *argv]


def test_a_unit_gets_its_folder_and_environment_by_name() -> None:
    environment = {"PATH": "/usr/bin", "HOME": "/root"}
    assert systemd_carrier("/jobs/x/run", ["rake", "db:migrate"], "gfu-x-1", "/home/git/gitlab", environment) == [
        "systemd-run",
        "--unit=gfu-x-1",
        "--description=gitlab_fleet.upgrade job",
        "--property=KillMode=control-group",
        "--property=WorkingDirectory=/home/git/gitlab",
        "--setenv=HOME=/root",
        "--setenv=PATH=/usr/bin",
        "/bin/sh",
        "/jobs/x/run",
        "rake",
        "db:migrate",
    ]


@given(word=st.text(alphabet="${}aA_ "))
def test_a_unit_finds_no_variable_in_an_argument(word: str) -> None:
    given_to_systemd = systemd_carrier("/jobs/x/run", [word], "gfu-x-1", None, {})[-1]
    assert "$" not in given_to_systemd.replace("$$", "")
    assert given_to_systemd.replace("$$", "$") == word


def test_a_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("first\nsecond\nthird\n")
    assert tail(str(file), 10) == "third\n"
    assert tail(str(file)) == "first\nsecond\nthird\n"
    assert tail(str(tmp_path / "missing")) == ""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("@@job 1 5 5\nhello", Look(True, "hello", 5, False)),
        ("@@job 0 0 0\n", Look(False, "", 0, False)),
        ("@@job 1 65536 70000\nx", Look(True, "x", 65536, True)),
        ("Welcome to this host\r\n@@job 1 3 3\r\na\r\n", Look(True, "a\n", 3, False)),
        ("bash: /bin/sh: not found", None),
        ("", None),
    ],
)
def test_parse_look(output: str, expected: Look | None) -> None:
    assert parse_look(output) == expected
