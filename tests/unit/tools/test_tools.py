# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.tests.tools import ansible_test_home, interpreters, packages, working_copy


def fake_interpreter(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def answering(executable: str, minor: int) -> str:
    return f"echo '[\"{executable}\", [3, {minor}]]'"


@pytest.fixture
def machine(tmp_path: Path) -> str:
    """PATH with a shim that refuses, the version behind it, one broken interpreter and one too old."""
    fake_interpreter(tmp_path / "pyenv/shims/python3.12", "exit 127")
    fake_interpreter(tmp_path / "pyenv/versions/3.12.1/bin/python3.12", answering("/real/3.12", 12))
    fake_interpreter(tmp_path / "bin/python3.11", answering("/real/3.11", 11))
    fake_interpreter(tmp_path / "bin/python3.10", "exit 1")
    fake_interpreter(tmp_path / "bin/python3.6", answering("/real/3.6", 6))
    fake_interpreter(tmp_path / "bin/python3.11-config", "exit 1")
    return f"{tmp_path}/pyenv/shims:{tmp_path}/bin::{tmp_path}/none"


def test_interpreters_behind_shims_are_found(machine: str) -> None:
    assert interpreters.find_all(machine) == {(3, 11): "/real/3.11", (3, 12): "/real/3.12"}


def test_shims_leave_the_path(machine: str, tmp_path: Path) -> None:
    assert interpreters.real_path(machine) == f"{tmp_path}/bin:{tmp_path}/none"


def test_a_name_that_a_shim_refuses_is_looked_up(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{machine}:/usr/bin:/bin")
    assert interpreters.choose("python3.12", machine) == ("/real/3.12", (3, 12))
    assert interpreters.choose("python3.99", machine) is None


def test_the_interpreter_behind_this_one_is_found() -> None:
    executable, version = interpreters.ask(sys.executable)
    assert version == sys.version_info[:2]
    assert Path(executable).resolve() == Path(executable)


@pytest.mark.parametrize(
    ("version", "core"),
    [((3, 9), None), ((3, 10), "2.16"), ((3, 11), "2.19"), ((3, 12), "2.21"), ((3, 14), "2.21"), ((3, 15), None)],
)
def test_newest_core(version: tuple[int, int], core: str | None) -> None:
    assert interpreters.newest_core(version) == core


def test_links_are_the_only_content(tmp_path: Path) -> None:
    interpreters.link(tmp_path, {(3, 9): "/real/3.9", (3, 11): "/real/3.11"})
    interpreters.link(tmp_path, {(3, 11): "/real/3.11"})
    assert {path.name: str(path.readlink()) for path in tmp_path.iterdir()} == {"python3.11": "/real/3.11"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working tree with a tracked, a new, an ignored and a deleted file."""
    tree = tmp_path / "tree"
    (tree / "roles/old").mkdir(parents=True)
    (tree / "tracked").write_text("1")
    (tree / "roles/old/main.yml").write_text("2")
    (tree / ".gitignore").write_text("/ignored\n")
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    subprocess.run(["git", "-C", str(tree), "add", "."], check=True)
    (tree / "new").write_text("3")
    (tree / "ignored").write_text("4")
    return tree


def content(copy: Path) -> dict[str, str]:
    return {name: (copy / name).read_text() for name in working_copy.listed_files(copy) if name != ".gitignore"}


def test_the_copy_follows_the_working_tree(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    working_copy.synchronize(checkout, copy)
    assert content(copy) == {"tracked": "1", "roles/old/main.yml": "2", "new": "3"}

    (checkout / "roles/old/main.yml").unlink()
    (checkout / "tracked").write_text("changed")
    (checkout / "link").symlink_to("new")
    (copy / "ignored").write_text("a cache of the copy")
    working_copy.synchronize(checkout, copy)
    assert content(copy) == {"tracked": "changed", "new": "3", "link": "3"}
    assert (copy / "link").is_symlink()
    assert not (copy / "roles").exists()
    assert (copy / "ignored").read_text() == "a cache of the copy"


def test_what_is_the_same_is_not_written_again(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    working_copy.synchronize(checkout, copy)
    before = (copy / "tracked").stat().st_ino
    working_copy.synchronize(checkout, copy)
    assert (copy / "tracked").stat().st_ino == before


def test_package_lists_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# comment\ngit  # why\n\nrake\n")
    (tmp_path / "b").write_text("git\n")
    assert packages.read([str(tmp_path / "a"), str(tmp_path / "b")]) == ["git", "rake"]


def test_pip_gets_the_settings_that_ansible_test_hides(tmp_path: Path) -> None:
    environment = {"PIP_INDEX_URL": "https://mirror/%20/simple", "PIP_CONFIG_FILE": "/x", "HOME": "/y"}
    ansible_test_home.prepare(tmp_path, environment)
    written = configparser.ConfigParser()
    written.read(tmp_path / ".config/pip/pip.conf")
    assert dict(written["global"]) == {"index-url": "https://mirror/%20/simple"}
    bootstraps = sorted(path.name for path in (tmp_path / ".ansible/test/cache").iterdir())
    assert bootstraps == ["get_pip_23_1_2.py", "get_pip_24_2.py", "get_pip_25_2.py"]
