# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is compared before a migration is marked complete by its version alone."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _catalog
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.modules.mark_migration_complete import (
    look_at,
    refuse_another_table,
)

VERSION = "20220106111958"
MAKES_A_TABLE = "create_table :gadgets, id: false do |t|\n  t.text :name, null: false\nend\n"
MAKES_NO_TABLE = "add_column :gadgets, :name, :text\n"
NOT_PLAIN = "create_table TABLE do |t|\n  t.text :name\nend\n"

NAME = {"name": "name", "type": "text", "nullable": False, "default": None}
OTHER = dict(NAME, type="integer")


def look(
    monkeypatch: pytest.MonkeyPatch, root: Path, source: str | None, columns: list[dict[str, t.Any]] | None
) -> dict[str, t.Any] | None:
    """Look at one database whose table has these columns, or is not there."""
    (root / "db" / "migrate").mkdir(parents=True)
    if source is not None:
        (root / "db" / "migrate" / f"{VERSION}_create_gadgets.rb").write_text(source)
    found = None if columns is None else {"columns": columns}
    monkeypatch.setattr(_catalog, "describe_relation", lambda _session, _table: found)
    instance = SimpleNamespace(installation=SimpleNamespace(rails_root=str(root)), session=lambda name: name)
    return look_at(None, t.cast("t.Any", instance), ["main"], VERSION)


def test_a_migration_that_makes_no_table_needs_no_comparison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert look(monkeypatch, tmp_path, MAKES_NO_TABLE, None) is None


def test_the_table_that_it_makes_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    existing = look(monkeypatch, tmp_path, MAKES_A_TABLE, [NAME])
    assert existing is not None
    assert (existing["kind"], existing["name"], existing["unclear"]) == ("table", "gadgets", [])
    assert [one["comparison"]["result"] for one in existing["relations"]] == ["same"]
    refuse_another_table(existing, VERSION)


@pytest.mark.parametrize(
    ("source", "columns", "said"),
    [
        (MAKES_A_TABLE, [OTHER], "name is integer, and would be text"),
        (MAKES_A_TABLE, None, "the table gadgets is not there"),
        (NOT_PLAIN, [NAME], "does not say plainly"),
        (None, [NAME], "The migration's file cannot be read"),
    ],
)
def test_another_table_and_an_unknown_one_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: str | None,
    columns: list[dict[str, t.Any]] | None,
    said: str,
) -> None:
    existing = look(monkeypatch, tmp_path, source, columns)
    assert existing is not None
    with pytest.raises(GitLabError, match=said):
        refuse_another_table(existing, VERSION)
