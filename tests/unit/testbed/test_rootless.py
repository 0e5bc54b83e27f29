# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

import pytest
from testbed import rootless


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann:100000:65536\n", True),
        ("bob:1:1\nann:100000:65536\n", True),
        ("1000:100000:65536\n", True),
        ("bob:100000:65536\n", False),
        ("ann:100000:1000\n", False),
        ("ann:100000:1000\nann:200000:65536\n", True),
        ("ann:100000\n\nann:x:y\n", False),
        ("", False),
    ],
)
def test_ranges_of_ids(text: str, expected: bool) -> None:
    assert rootless.has_range(text, {"ann", "1000"}) is expected


def test_where_the_state_is(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MINI_GITLAB_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rootless.state_directory() == pathlib.Path("/var/lib/gitlab-fleet-testbed")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert rootless.state_directory() == tmp_path / ".local/state/gitlab-fleet-testbed"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert rootless.state_directory() == tmp_path / "state/gitlab-fleet-testbed"
    monkeypatch.setenv("MINI_GITLAB_DIR", "/srv/testbed")
    assert rootless.state_directory() == pathlib.Path("/srv/testbed")
