# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from finalize_bench import Bench, FakeInstance, FakeJobs, FakeSession


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    monkeypatch.setattr(_orphans, "ruby_processes", list)

    def build(*databases: FakeSession, version: str = "17.8.7") -> Bench:
        return Bench(FakeInstance(list(databases), GitLabVersion.parse(version)), FakeJobs(tmp_path))

    return build
