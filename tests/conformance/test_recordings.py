# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mini GitLab answers and leaves rows as GitLab's own engine did, but for the differences that are listed."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from .comparison import differences

TESTS = Path(__file__).resolve().parent.parent
RECORDINGS = TESTS / "data" / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
LISTED: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "differences.yml").read_text()) or {}


@pytest.mark.parametrize("name", NAMES)
def test_replay(name: str, outcomes: dict[str, dict[str, t.Any]]) -> None:
    recording = json.loads((RECORDINGS / f"{name}.json").read_text())
    found = differences(recording, outcomes[name])
    listed = LISTED.get(name, {})
    unlisted = {
        field: {"recorded": values[0], "replayed": values[1]} for field, values in found.items() if field not in listed
    }
    assert not unlisted, json.dumps(unlisted, indent=1)
    assert set(listed) <= set(found), "listed in differences.yml, but no longer so: take it out"


def test_every_listed_difference_names_a_recording() -> None:
    assert set(LISTED) <= set(NAMES)


def test_nothing_is_left_out() -> None:
    assert len(NAMES) == 123
