# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _restore_place as rp

VERIFIED = "/var/opt/gitlab/backups/x_gitlab_backup.tar"
THERE = rp.Place(VERIFIED, True, True, True, "git")


@pytest.mark.parametrize(
    ("place", "said", "remedy"),
    [
        (rp.Place("/else/x_gitlab_backup.tar", False, False, False, "git"), "no such file", "ln "),
        (rp.Place("/else/x_gitlab_backup.tar", True, False, True, "git"), "another file than the verified", "away"),
        (
            rp.Place(VERIFIED, True, True, False, "gitlab"),
            "gitlab, as whom GitLab restores, cannot read",
            "chown gitlab ",
        ),
    ],
)
def test_what_would_not_be_restored_is_told(place: rp.Place, said: str, remedy: str) -> None:
    problem = rp.problem(place, VERIFIED)
    assert problem is not None
    assert said in problem[0]
    assert remedy in problem[1]


def test_the_verified_archive_in_its_place_is_no_problem() -> None:
    assert rp.problem(THERE, VERIFIED) is None


@pytest.mark.parametrize(
    ("rc", "expected"),
    [
        ("gitlab_user='git'\ngitlab_group='git'\nregistry_dir='/x'\n", ("git", "git")),
        ('export NO=1\ngitlab_user=rails\ngitlab_group="rails-group"\n', ("rails", "rails-group")),
        ("", ("git", "git")),
    ],
)
def test_as_whom_gitlab_restores(rc: str, expected: tuple[str, str]) -> None:
    assert rp.account(rc) == expected


@pytest.mark.parametrize("other", [None, "same", "link", "another"])
def test_what_gitlab_backup_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str | None) -> None:
    directory, verified = tmp_path / "backups", tmp_path / "mounted.tar"
    directory.mkdir()
    verified.write_text("archive")
    target = directory / "x_gitlab_backup.tar"
    if other == "same":
        target.symlink_to(verified)
    elif other == "link":
        target.hardlink_to(verified)
    elif other == "another":
        target.write_text("archive")
    monkeypatch.setattr(rp, "backup_path", lambda _installation: str(directory))
    asked: list[t.Any] = []

    def run(argv: list[str]) -> t.Any:
        asked.append(argv)
        return SimpleNamespace(rc=0)

    runner = SimpleNamespace(run=run)
    instance: t.Any = SimpleNamespace(installation=None, runner=runner)
    manifest: t.Any = SimpleNamespace(id="x", archive=SimpleNamespace(path=str(verified)))
    place = rp.look(instance, manifest)
    assert (place.path, place.exists, place.same) == (str(target), other is not None, other in ("same", "link"))
    assert place.readable is (other is not None)
    assert len(asked) == (other is not None)
