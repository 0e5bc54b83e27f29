# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _put_away
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._services import Service

RUNNING = Service("run", 7, 60, "(pid 7) 60s")
DOWN = Service("down", None, 13, "13s, normally up")


def test_what_an_interrupted_run_recorded_wins() -> None:
    services = {"puma": DOWN, "sidekiq": RUNNING, "nginx": RUNNING}
    record = {"puma": True, "registry": False}
    assert _put_away.put_away(record, services, ["puma", "sidekiq"]) == {
        "puma": True,
        "sidekiq": True,
        "registry": False,
    }


def test_a_service_that_was_down_is_recorded_as_such() -> None:
    assert _put_away.put_away({}, {"puma": DOWN}, ["puma"]) == {"puma": False}


@pytest.mark.parametrize(
    ("state", "names", "released"),
    [
        ("stopped", ["puma"], []),
        ("started", ["puma", "nginx"], ["puma", "nginx"]),  # also what no record speaks of (any more)
        ("restarted", ["nginx"], ["nginx"]),
        ("restored", None, ["puma", "sidekiq"]),  # what was down too: it is to start at the next boot as before
        ("restored", ["sidekiq", "nginx"], ["sidekiq"]),
    ],
)
def test_what_is_no_longer_put_away(state: str, names: list[str] | None, released: list[str]) -> None:
    assert _put_away.released(state, names, {"puma": True, "sidekiq": False}) == released


OWNERS = {"puma": None, "sidekiq": "ours", "nginx": "foreign"}


def test_a_down_file_is_made_only_where_it_is_asked_for_and_there_is_none() -> None:
    assert _put_away.down_files_to_make(True, OWNERS, OWNERS) == ["puma"]
    assert _put_away.down_files_to_make(False, OWNERS, OWNERS) == []


def test_only_our_own_down_files_are_taken_away() -> None:
    assert _put_away.down_files_to_remove(OWNERS, OWNERS) == ["sidekiq"]
    assert _put_away.down_files_to_remove(["puma", "nginx"], OWNERS) == []
