# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import tarfile

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_worker, _own_python


def archive(path: pathlib.Path, name: str, content: bytes) -> str:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return str(path)


def test_what_was_read_comes_out_of_the_file_as_it_went_in(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_backup_worker, "LINE_SECONDS", 0)
    backup = archive(tmp_path / "x.tar", "backup_information.yml", b":gitlab_version: 14.0.12\n")
    configuration = archive(tmp_path / "c.tar", "etc/gitlab/gitlab.rb", b"x")
    result = tmp_path / "result"

    _backup_worker.main([backup, configuration, str(result)])

    found, saved = _backup_worker.load(result.read_text())
    assert (found, saved) == _backup_worker.read(backup, configuration, lambda done, size, what: None)
    assert capsys.readouterr().out == "verify  0 %  0 bytes of 10.2 kB  backup_information.yml\n"

    _backup_worker.main([backup, "", str(result)])
    assert _backup_worker.load(result.read_text()) == (found, None)


def test_as_a_job_it_says_what_it_cannot_read_and_leaves_no_result(tmp_path: pathlib.Path) -> None:
    place = _own_python.place(str(tmp_path / "code.zip"))
    arguments = [str(tmp_path / "none.tar"), "", str(tmp_path / "result")]
    command = _own_python.command(place, "_backup_worker", arguments)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert command[0] == sys.executable
    assert done.returncode == _backup_worker.UNREADABLE
    assert "Cannot read" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "result").exists()
