# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds C(_rake) against a real Rake: its own splitter, its tasks, its command line, a real shell.

Needs C(rake) on the PATH. Rake's own answer is what each test compares with.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rake
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

HERE = pathlib.Path(__file__).parent
LOCALES = ("C", "C.UTF-8")
ARGUMENT_COUNT = 4

# Mostly characters that mean something to Rake, to Ruby, to JSON or to a shell; some of everything else.
awkward = st.sampled_from(list("\\,[]{}\"'`$#!?*~;&|<>()=:%^ \t\r\f\v-aZ0_é☃𝄞\x01\x1b\x7f\x85\u2028"))
characters = st.one_of(awkward, st.characters(codec="utf-8", exclude_characters="\0\n"))
argument = st.text(characters, min_size=1, max_size=12)
arguments = st.lists(argument, min_size=1, max_size=ARGUMENT_COUNT)

# Ruby's JSON reads 64-bit floats and any integer, as Python's does; its nesting limit is 100.
scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.one_of(awkward, st.characters(codec="utf-8", exclude_characters="\0"))),
)
json_value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
job_arguments = st.lists(json_value.filter(lambda value: "\\u0000" not in json.dumps(value)), max_size=4)


class Server:
    """A Rake process that answers one JSON line for each JSON line."""

    def __init__(self, task: str) -> None:
        self._process = subprocess.Popen(
            ["rake", "--silent", "-f", str(HERE / "Rakefile"), task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="ascii",
        )

    def ask(self, element: str) -> t.Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(element) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait(timeout=30)


def _serve(task: str) -> t.Iterator[Server]:
    server = Server(task)
    yield server
    assert server.close() == 0


@pytest.fixture(name="parser", scope="module")
def fixture_parser() -> t.Iterator[Server]:
    yield from _serve("serve")


@pytest.fixture(name="tasks", scope="module")
def fixture_tasks() -> t.Iterator[Server]:
    yield from _serve("serve_tasks")


def _padded(values: t.Sequence[str | None]) -> list[str | None]:
    return [*values, *[None] * (ARGUMENT_COUNT - len(values))]


@settings(max_examples=1500, deadline=None)
@given(arguments)
@example([" "])
@example(["\\", "\\\\", "\\,", ",\\"])
@example(["\ta\t", " \\ ", "a]", "]["])
def test_rake_splits_quoted_arguments_into_the_same_arguments(parser: Server, values: list[str]) -> None:
    element = _rake.task("show", values)
    assert parser.ask(element) == ["show", values]
    assert _rake.parse_task(element) == ("show", values)


@settings(max_examples=1000, deadline=None)
@given(arguments)
def test_a_task_sees_the_same_arguments(tasks: Server, values: list[str]) -> None:
    assert tasks.ask(_rake.task("show", values)) == _padded(values)


@settings(max_examples=1500, deadline=None)
@given(job_arguments)
@example([None, "up"])
@example([["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"], None])
@example(['a"b', "a\\b", "a,b", "]", "[", "a\nb", " lead", "trail ", "#{x}", "é☃𝄞", "\u2028"])
@example([])
def test_finalize_parses_the_same_job_arguments(tasks: Server, value: list[t.Any]) -> None:
    text = _rake.job_arguments_json(value)
    seen = tasks.ask(_rake.task("finalize", ["BackfillX", "events", "id", text]))
    assert json.dumps(seen, sort_keys=True) == json.dumps(value, sort_keys=True)


@settings(max_examples=2000, deadline=None)
@given(st.text(characters, max_size=16))
@example("")
@example(" ")
@example(",")
@example("a,b,")
@example("a\\")
@example("x, a b\\")
@example("\\ a\\ \\  ,")
@example("\\,\\")
@example("\\\\\\,b\\")
def test_parse_arguments_reads_what_rake_reads(parser: Server, text: str) -> None:
    assert parser.ask(f"show[{text}]") == ["show", _rake.parse_arguments(text)]


@settings(max_examples=1000, deadline=None)
@given(st.text(st.sampled_from("ab[],\\ "), max_size=10))
@example(",[\\,\\]")
def test_parse_task_reads_what_rake_reads(parser: Server, text: str) -> None:
    assert parser.ask(text) == list(_rake.parse_task(text))


@pytest.mark.parametrize("text", ["\n", "a\nb", "a\n", "\na", 'x,["a\nb"]'])
def test_rake_does_not_find_a_task_whose_argument_holds_a_newline(tasks: Server, text: str) -> None:
    answer = tasks.ask(f"show[{text}]")
    assert answer["message"].startswith("Don't know how to build task")
    with pytest.raises(GitLabError, match="newline"):
        _rake.quote_arguments([text])
    with pytest.raises(GitLabError, match="newline"):
        _rake.parse_arguments(text)


@pytest.mark.parametrize("text", ["", "a,", ",a", "a,,b"])
def test_a_task_gets_nil_for_an_empty_argument(tasks: Server, text: str) -> None:
    seen = tasks.ask(f"show[{text}]")
    values = _rake.parse_arguments(text)
    assert seen == _padded([value or None for value in values])
    with pytest.raises(GitLabError, match="empty"):
        _rake.quote_arguments(values or [""])


COMMAND_LINES: list[list[str]] = [
    ["BackfillX", "events", "id", "[]"],
    ["ProjectNamespaces::BackfillProjectNamespaces", "projects", "id", '[null,"up"]'],
    ["CopyColumnUsingBackgroundMigrationJob", "events", "id", '[["id"],["id_convert_to_bigint"]]'],
    ["A", "gitlab_partitions_dynamic.ci_pipelines_103", "id", '[["id"], ["id_c"], null]'],
    [" leading", "trailing ", "\tboth\t", " "],
    ["back\\slash", "ends\\", "\\", ",\\,"],
    ["]", "[", "][", "a[b]c"],
    ["'single'", '"double"', "`date`", "$(date) $HOME ${x}"],
    ["é", "☃", "𝄞", "\x7f"],
    ["--help", "-T", "VERSION=1", "a=b"],
    ["!", "*", "?", "~"],
    ["a;b", "a&b", "a|b", "a>b"],
    ["#", "%", "\\n", "\\u0041"],
    ["\r", "\f", "\v", "a\rb"],
]


def _run(argv: t.Sequence[str], locale: str, **options: t.Any) -> t.Any:
    result = subprocess.run(
        argv, env={**os.environ, "LC_ALL": locale}, check=True, capture_output=True, timeout=60, cwd=HERE, **options
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("values", COMMAND_LINES)
def test_a_rake_process_gets_the_same_arguments(values: list[str], locale: str) -> None:
    assert _run(["rake", "--silent", _rake.task("show", values)], locale) == values


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("values", COMMAND_LINES)
def test_the_line_for_people_can_be_pasted_into_a_shell(values: list[str], shell: str) -> None:
    line = _rake.shell_command("show", values, program=("rake", "--silent"))
    assert _run([shell, "-c", line], "C.UTF-8") == values


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("value", [[None, "up"], ["é☃𝄞"], ['a"b\\c', ",", "a\nb"], [[["x"], {"k": [1, 2.5]}]]])
def test_a_finalize_process_parses_the_same_job_arguments(value: list[t.Any], locale: str) -> None:
    element = _rake.task("finalize", ["A", "t", "id", _rake.job_arguments_json(value)])
    assert _run(["rake", "--silent", element], locale) == value
