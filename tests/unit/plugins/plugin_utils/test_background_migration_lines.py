# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_clear import EVENT_MARK
from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._background_migration_lines import (
    BackgroundMigrationLines,
)


def begun(left: int, source: str = "sidekiq") -> str:
    event = {"database": "ci", "class_name": "Some", "arguments": [1], "from": source, "left": left}
    return f"{EVENT_MARK}{json.dumps(event)}\n"


def test_a_line_for_each_percent_and_each_place() -> None:
    lines = BackgroundMigrationLines()
    text = "".join(begun(left) for left in reversed(range(1000)))
    shown = lines.feed(text, 0)
    assert shown[0] == "Some (ci)  from Sidekiq  1000 left"
    assert shown[1] == "Some (ci)  from Sidekiq  991 left"
    assert len(shown) == 101
    assert lines.feed(begun(0, "row"), 1) == ["Some (ci)  tracked row  1 left"]
    assert lines.feed(begun(0, "interrupted"), 2) == ["Some (ci)  of the run that was killed  1 left"]


def test_one_that_takes_long_is_told_once_a_minute() -> None:
    lines = BackgroundMigrationLines()
    assert lines.feed("", 0) == []
    text = begun(1)
    assert lines.feed(text[:30], 0) == []
    assert lines.feed(text[30:], 10) == ["Some (ci)  from Sidekiq  2 left"]
    assert lines.feed("", 69) == []
    assert lines.feed("", 70) == ["Some (ci)  from Sidekiq  2 left  for 1 min"]
    assert lines.feed("", 129) == []
    assert lines.feed("", 130) == ["Some (ci)  from Sidekiq  2 left  for 2 min"]
