# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real Ruby prints is in C(tests/integration/rake/test_ruby_literal.py)."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _ruby_literal
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._ruby_literal import (
    RubyLiteralError,
    parse_ruby_literal,
    parse_ruby_literal_at,
)

LITERALS: list[tuple[str, t.Any]] = [
    ("nil", None),
    ("true", True),
    (" false ", False),
    ("0", 0),
    ("-12", -12),
    ("1.5", 1.5),
    ("1.0e-05", 1.0e-05),
    ("[]", []),
    ("{}", {}),
    ("[ ]", []),
    ('[nil, "up"]', [None, "up"]),
    ('[["id"], ["id_convert_to_bigint"]]', [["id"], ["id_convert_to_bigint"]]),
    ('[["event_id"],\n   ["event_id_convert_to_bigint"]]', [["event_id"], ["event_id_convert_to_bigint"]]),
    (":projects", "projects"),
    (':"with space"', "with space"),
    ("{:table_name=>:projects, :column_name=>:id}", {"table_name": "projects", "column_name": "id"}),
    ('{:a=>nil, "b"=>true, :"c d"=>[1]}', {"a": None, "b": True, "c d": [1]}),
    ("{:valid?=>:go!}", {"valid?": "go!"}),
    # Ruby 3.4 and later.
    ('{table_name: :projects, "b" => 1, "c d": [nil]}', {"table_name": "projects", "b": 1, "c d": [None]}),
    ('"tab\\t nl\\n esc\\e quote\\" back\\\\ hash\\#{x} bell\\a"', 'tab\t nl\n esc\x1b quote" back\\ hash#{x} bell\a'),
    ('"\\u00e9 \\u{1F600} \\x7F \\xC3\\xA9 é"', "é \U0001f600 \x7f é é"),
]

NO_LITERALS = [
    "",
    "nill",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[1 2]",
    '"open',
    '"wrapped\nstring"',
    '"\\q"',
    '"\\xFF"',
    '"\\u{D800}"',
    '"\\u{110000}"',
    "{:a}",
    "{:a=>}",
    "{1=>2}",
    "{nil=>2}",
    "{:a=>1",
    "#<Object:0x00007f>",
    "1 2",
    "01x",
    "9" * 5000,
    "1.0e999",
    "NaN",
    "Infinity",
    "[" * 10000,
    '{"a"=>' * 10000,
]

scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def inspect(value: t.Any, arrow: str) -> str:
    """Print as Ruby does, strings as keys."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(char if char.isalnum() else f"\\u{{{ord(char):X}}}" for char in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(inspect(member, arrow) for member in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inspect(key, arrow)}{arrow}{inspect(value[key], arrow)}" for key in value) + "}"
    return str(value)


@pytest.mark.parametrize(("text", "value"), LITERALS)
def test_literals(text: str, value: t.Any) -> None:
    parsed = parse_ruby_literal(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", NO_LITERALS)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(RubyLiteralError, match="not a value as Ruby prints it"):
        parse_ruby_literal(text)


def test_an_error_shows_the_place() -> None:
    with pytest.raises(RubyLiteralError, match=r"no value at character 6: '#<X>\]'"):
        parse_ruby_literal('["a", #<X>]')


@given(values, st.sampled_from(["=>", " => ", ": "]))
def test_printed_values_read_back(value: t.Any, arrow: str) -> None:
    assert parse_ruby_literal(inspect(value, arrow)) == value


@given(values, st.text(max_size=5))
def test_a_value_inside_a_text_ends_where_it_ends(value: t.Any, before: str) -> None:
    text = before + inspect([value], "=>")
    assert parse_ruby_literal_at(f"{text}}} and more", len(before)) == ([value], len(text))


@given(st.text() | st.text(st.sampled_from('[]{}:"\\=>, \nnil01.ex#uA')))
def test_garbage_raises_nothing_but_the_domain_error(text: str) -> None:
    try:
        value = parse_ruby_literal(text)
    except RubyLiteralError:
        return
    assert isinstance(value, (type(None), bool, int, float, str, list, dict))


def test_nesting_of_real_values_is_far_below_the_limit() -> None:
    depth = _ruby_literal._MAX_DEPTH - 1
    assert parse_ruby_literal("[" * depth + "]" * depth) is not None
