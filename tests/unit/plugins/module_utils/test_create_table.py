# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._create_table import (
    DIFFERENT,
    SAME,
    UNKNOWN,
    Column,
    compare,
    parse,
    says_all,
)

CATALOGUE = Path(__file__).parents[3] / "mini_gitlab" / "app" / "catalogue"

WHOLE = """
class CreateThings < Gitlab::Database::Migration[2.1]
  enable_lock_retries!

  def change
    create_table :things, if_not_exists: true do |t| # what it is for
      t.references :project, null: false, index: true, foreign_key: { on_delete: :cascade }
      t.belongs_to :namespace
      t.timestamps_with_timezone null: false
      t.datetime_with_timezone :seen_at
      t.bigint :one_id, :two_id, null: false
      t.integer :status, limit: 2, null: false, default: 0
      t.text :name, null: false, limit: 255
      t.string :sha, limit: 40
      t.text :tags, array: true, default: []
      t.column :address, :inet
      t.jsonb :data,
        null: false,
        default: {}
      t.decimal_free :x if false
      t.index [:project_id, :name], unique: true, name: 'index_things'
      t.check_constraint "char_length(name) <= 255; --", name: 'check_1'
    end
  end
end
""".replace("      t.decimal_free :x if false\n", "")

COLUMNS = [
    Column("id", "bigint", False),
    Column("project_id", "bigint", False),
    Column("namespace_id", "bigint", True),
    Column("created_at", "timestamp with time zone", False),
    Column("updated_at", "timestamp with time zone", False),
    Column("seen_at", "timestamp with time zone", True),
    Column("one_id", "bigint", False),
    Column("two_id", "bigint", False),
    Column("status", "smallint", False),
    Column("name", "text", False),
    Column("sha", "character varying(40)", True),
    Column("tags", "text[]", True),
    Column("address", "inet", True),
    Column("data", "jsonb", False),
]


def existing(columns: t.Iterable[Column]) -> list[dict[str, t.Any]]:
    return [{"name": one.name, "type": one.type, "nullable": one.nullable, "default": None} for one in columns]


def test_the_columns_of_a_migration() -> None:
    assert parse(WHOLE) == {"things": COLUMNS}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("create_table(:a) { |t| t.bigint :x, :y; t.datetime :z, null: false }", ["id", "x", "y", "z"]),
        ("create_table :a, id: false do |t|\n  t.bigint :x\nend", ["x"]),
        ("create_table(:a, primary_key: :b_id) { |t| t.text :x }", ["b_id", "x"]),
        ("create_table :a do |t|\nend", ["id"]),
    ],
)
def test_forms_of_a_table(source: str, expected: list[str]) -> None:
    assert [column.name for column in parse(source)["a"]] == expected


@pytest.mark.parametrize(
    ("base", "key", "nullable"),
    [
        ("ActiveRecord::Migration", "integer", True),
        ("ActiveRecord::Migration[4.2]", "integer", True),
        ("ActiveRecord::Migration[5.0]", "integer", False),
        ("ActiveRecord::Migration[5.1]", "bigint", False),
        ("ActiveRecord::Migration[6.1]", "bigint", False),
        ("Gitlab::Database::Migration[1.0]", "bigint", False),
    ],
)
def test_the_rules_of_the_rails_that_it_was_written_for(base: str, key: str, nullable: bool) -> None:
    source = f"class A < {base}\n  create_table :a do |t|\n    t.references :b\n    t.timestamps\n  end\nend"
    assert [(column.type, column.nullable) for column in parse(source)["a"]] == [
        (key, False),
        (key, True),
        ("timestamp without time zone", nullable),
        ("timestamp without time zone", nullable),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "execute 'CREATE TABLE a (id bigint)'",
        "create_table :a, id: :uuid do |t|\n  t.text :x\nend",
        "create_table :a, force: :cascade do |t|\n  t.text :x\nend",
        "create_table :a do |t|\n  t.references :x, polymorphic: true\nend",
        "create_table :a do |t|\n  t.text NAME\nend",
        "create_table :a do |t|\n  t.tsvector :x\nend",
        "create_table :a do |t|\n  add_columns(t)\nend",
        "create_table :a do |t|\n  COLUMNS.each do |name|\n    t.text name\n  end\nend",
        "create_table :a do |t|\n  t.text :x if Gitlab.ee?\nend",
        "create_table TABLE do |t|\n  t.text :x\nend",
        "create_table(:a) { |t| t.text :x",
    ],
)
def test_what_is_not_plain_is_unknown(source: str) -> None:
    assert parse(source) == {}
    assert compare(source, "a", []).result == UNKNOWN


def test_a_table_that_has_everything_is_the_same_and_may_have_more() -> None:
    found = compare(WHOLE, "things", existing([*COLUMNS, Column("later", "text", True)]))
    assert (found.result, found.differences, found.extra) == (SAME, (), ("later",))


def test_the_precision_of_times_is_rails_own_affair() -> None:
    columns = existing(COLUMNS)
    columns[3]["type"] = "timestamp(6) with time zone"
    assert compare(WHOLE, "things", columns).result == SAME


@pytest.mark.parametrize("place", range(len(COLUMNS)))
def test_one_column_that_is_missing_or_another_is_a_difference(place: int) -> None:
    without = existing(COLUMNS)
    name = without.pop(place)["name"]
    assert compare(WHOLE, "things", without).differences == (f"{name} is missing",)
    for key, value in (("type", "money"), ("nullable", not COLUMNS[place].nullable)):
        other = existing(COLUMNS)
        other[place][key] = value
        found = compare(WHOLE, "things", other)
        assert found.result == DIFFERENT
        assert len(found.differences) == 1
        assert found.differences[0].startswith(name)


def test_another_table_of_the_same_file_is_unknown() -> None:
    assert compare(WHOLE, "others", existing(COLUMNS)).result == UNKNOWN


def test_a_table_that_is_not_there_is_a_difference() -> None:
    found = compare(WHOLE, "things", None)
    assert (found.result, found.differences) == (DIFFERENT, ("the table things is not there",))


TWO = "create_table :a do |t|\n  t.text :x\nend\ncreate_table {} do |t|\n  t.text :y\nend"


@pytest.mark.parametrize(
    ("source", "tables", "all_of_them"),
    [
        (WHOLE, ["things"], True),
        (TWO.format(":b"), ["a", "b"], True),
        (TWO.format("NAME"), ["a"], False),
        (TWO.format(":b").replace("t.text :y", "t.tsvector :y"), ["a"], False),
        (TWO.format(":a"), ["a"], False),
        ("create_table_with_constraints :a do |t|\n  t.text :x\nend", [], False),
        ("# create_table TABLE\nadd_column :a, :x, :text", [], True),
        ("  def up\n    drop_table :a\n  end\n\n  def down\n    create_table :a do |t|\n    end\n  end\n", [], True),
        (f"  def down\n    create_table :b do |t|\n    end\n  end\n{TWO.format(':c')}", ["a", "c"], True),
        ("", [], True),
    ],
)
def test_whether_a_file_says_plainly_all_that_it_makes(source: str, tables: list[str], all_of_them: bool) -> None:
    assert list(parse(source)) == tables
    assert says_all(source) is all_of_them


@given(st.text(alphabet="create_tbl :ado|{};,\n()[]'\"#xend=.", max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse(f"create_table :a do |t|\n{text}\nend")
    parse(text)


def test_the_migrations_of_the_test_bed_are_plain() -> None:
    """Each table there that is made by create_table is understood, or is not plain for a reason that is named here."""
    understood = [name for path in CATALOGUE.rglob("*.rb") for name in parse(path.read_text())]
    assert {"incident_management_pending_alert_escalations", "postgres_async_indexes"} <= set(understood)
