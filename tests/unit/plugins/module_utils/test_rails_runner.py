# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _rails_runner,
    _ruby_background_migrations,
    _ruby_bbm,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import (
    ANSWER_MARK,
    parse_answer,
    parse_answers,
)

SNIPPETS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in (_ruby_bbm, _ruby_background_migrations)
    for name, value in vars(module).items()
    if name.isupper() and not name.startswith("_") and name != "PRELUDE"
}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (f'{ANSWER_MARK}{{"after": 3}}\n', {"after": 3}),
        (f'WARNING: deprecated\n\n{ANSWER_MARK}{{"after":3}}\nDone.\n', {"after": 3}),
        (f'{ANSWER_MARK}{{"after":1}}\n{ANSWER_MARK}{{"after":3}}\n', {"after": 3}),
        (f'{ANSWER_MARK}{{"after":', None),
        (f'{ANSWER_MARK}{{"after":1}}\n{ANSWER_MARK}{{"aft', {"after": 1}),
        (f'{ANSWER_MARK}{{"said": "a\u2028b\x85c"}}\r\n', {"said": "a\u2028b\x85c"}),
        (f"{ANSWER_MARK}[1]", None),
        ("Done.\n", None),
        ("", None),
    ],
)
def test_parse_answer(output: str, expected: dict[str, t.Any] | None) -> None:
    assert parse_answer(output) == expected


def test_parse_answers_in_order_and_with_any_character_in_a_line() -> None:
    output = f'{ANSWER_MARK}{{"n":1}}\nnoise\n{ANSWER_MARK}{{"n":"a\u2028b"}}\n{ANSWER_MARK}[]\n{ANSWER_MARK}{{'
    assert parse_answers(output) == [{"n": 1}, {"n": "a\u2028b"}]


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS.keys())
def test_every_snippet_answers_behind_the_mark_and_reads_one_argument(snippet: str) -> None:
    assert f'"\\n{ANSWER_MARK}#{{JSON.generate(value)}}"' in snippet
    assert snippet.count("ARGV") == 1
    # A placeholder that was meant for Python, or data inside of code.
    assert "%(" not in snippet


def test_a_command_hands_its_input_over_as_ascii_json() -> None:
    argv = _rails_runner.command(Installation.create("omnibus"), "puts 1", {"b": "é", "a": [None]})
    assert argv[-2:] == ["puts 1", '{"a": [null], "b": "\\u00e9"}']


def test_an_input_that_is_too_long_for_one_word_is_cut_into_several() -> None:
    value = {"rows": ["é" * 10] * 5000}
    argv = _rails_runner.command(Installation.create("omnibus"), "puts 1", value)
    words = argv[argv.index("puts 1") + 1 :]
    assert len(words) > 1
    assert max(len(word.encode()) for word in words) < 128 * 1024
    assert json.loads("".join(words)) == value
