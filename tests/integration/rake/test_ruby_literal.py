# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds C(_ruby_literal) against what a real Ruby's C(inspect) prints. Needs C(ruby) on the PATH."""

from __future__ import annotations

import json
import subprocess
import typing as t

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._ruby_literal import parse_ruby_literal

# Each line of stdin is a JSON value; the answer is how Ruby prints it, with string and with symbol keys.
PROGRAM = """
require 'json'
$stdin.each_line do |line|
  value = [JSON.parse(line), JSON.parse(line, symbolize_names: true)]
  $stdout.puts JSON.generate(value.map(&:inspect), ascii_only: true)
  $stdout.flush
end
"""

characters = st.one_of(
    st.sampled_from(list("\\\"#{}$@:=>,[]'\n\r\t\x1b\a\b\f\v\x7f\0 é☃𝄞\u2028\ue000")), st.characters(codec="utf-8")
)
texts = st.text(characters, max_size=10)
# Names of operators, which are symbols without quotes too, are no keys of anything here.
keys = texts.map(lambda text: f"k{text}")
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)


@pytest.fixture(name="ruby", scope="module")
def fixture_ruby() -> t.Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["ruby", "-Eutf-8:utf-8", "-e", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii"
    )
    with process:
        yield process
    assert process.returncode == 0


@settings(max_examples=2000, deadline=None)
@given(values)
@example({"job_class_name": "X::Y", "job_arguments": [None, "up", {"a b": '#{x} "'}]})
def test_values_printed_by_ruby_read_back(ruby: subprocess.Popen[str], value: t.Any) -> None:
    assert ruby.stdin is not None
    assert ruby.stdout is not None
    ruby.stdin.write(json.dumps(value) + "\n")
    ruby.stdin.flush()
    for text in json.loads(ruby.stdout.readline()):
        assert parse_ruby_literal(text) == value
