# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import shutil

import pytest
from testbed import base, cli


def test_what_follows_the_dashes_is_the_command() -> None:
    parsed = cli.parse(["--fleet", "f", "exec", "a", "--", "ls", "--", "-l"])
    assert (parsed.fleet, parsed.verb, parsed.name, parsed.command) == ("f", "exec", "a", ["ls", "--", "-l"])


def test_up() -> None:
    parsed = cli.parse(["up", "--image", "i", "--bind", "/a:/b", "--bind", "/c:/d", "x", "y"])
    assert (parsed.names, parsed.image, parsed.bind) == (["x", "y"], "i", ["/a:/b", "/c:/d"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["up"], ["exec", "a"], ["exec", "a", "--"], ["exec", "--", "ls"], ["ps", "--", "x"], ["image", "a"], ["fly"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        cli.parse(arguments)
    assert exit_code.value.code == 2
    assert "fleet.py" in capsys.readouterr().err


def test_the_fleet_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINI_GITLAB_FLEET", "mine")
    assert cli.parse(["ps"]).fleet == "mine"
    assert cli.parse(["--fleet", "other", "ps"]).fleet == "other"


def test_every_command_is_in_the_manual() -> None:
    manual = (base.DIRECTORY / "README.md").read_text()
    help_text = cli.make_parser().format_help()
    verbs = [line.split()[0] for line in help_text.splitlines() if line.startswith("    ") and line[4] != " "]
    assert {"base", "up", "exec", "shell"} <= set(verbs)
    assert [verb for verb in verbs if f"`{verb}" not in manual] == []


def test_package_lists() -> None:
    assert base.package_names("# why\n\nb # because\na\nb\n") == ["a", "b"]


def test_the_base_has_another_name_when_its_packages_change(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(base.DIRECTORY / "base-packages.txt", tmp_path)
    monkeypatch.setattr(base, "DIRECTORY", tmp_path)
    before = base.current()
    with open(tmp_path / "base-packages.txt", "a") as file:
        file.write("# a comment\n")
    assert base.current() == before
    with open(tmp_path / "base-packages.txt", "a") as file:
        file.write("tree\n")
    assert base.current() != before
