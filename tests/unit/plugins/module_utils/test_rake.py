# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real Rake makes of these is in C(tests/integration/rake/test_rake_quoting.py)."""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rake
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

FINALIZE = "gitlab:background_migrations:finalize"
COPY = "CopyColumnUsingBackgroundMigrationJob"

arguments = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1), min_size=1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3),
)

# The lines that GitLab prints and documents; each must mean the same as what is built from its values.
DOCUMENTED = [
    (
        "sudo gitlab-rake gitlab:background_migrations:finalize[CopyColumnUsingBackgroundMigrationJob,ci_stages,id,"
        '\'[["id"]\\, ["id_convert_to_bigint"]]\']',
        [COPY, "ci_stages", "id"],
        [["id"], ["id_convert_to_bigint"]],
    ),
    (
        "sudo gitlab-rake gitlab:background_migrations:finalize[CopyColumnUsingBackgroundMigrationJob,taggings,id,"
        '\'[["id"\\, "taggable_id"]\\, ["id_convert_to_bigint"\\, "taggable_id_convert_to_bigint"]]\']',
        [COPY, "taggings", "id"],
        [["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"]],
    ),
    (
        "sudo gitlab-rake gitlab:background_migrations:finalize[ProjectNamespaces::BackfillProjectNamespaces,"
        "projects,id,'[null\\,\"up\"]']",
        ["ProjectNamespaces::BackfillProjectNamespaces", "projects", "id"],
        [None, "up"],
    ),
]

QUOTED = [
    (["a", "b"], "a,b"),
    (["a,b"], "a\\,b"),
    (["a\\b"], "a\\\\b"),
    (["a b"], "a b"),
    ([" a", "a "], "\\ a,a\\ "),
    (["\t"], "\\\t"),
    (["[x]"], "[x]"),
    ([], ""),
]

PARSED = [
    ("", []),
    (" ", [""]),
    ("a", ["a"]),
    ("a,", ["a", ""]),
    (" a , b ", ["a", "b"]),
    ("a\\,b", ["a,b"]),
    ("\\a", ["a"]),
    ("x,a\\", ["x", ""]),
    ("\\,\\", ["", ""]),
    ("\\\\\\,b\\", ["\\", ""]),
]

TASKS = [
    ("db:migrate", ("db:migrate", [])),
    ("t[]", ("t", [])),
    ("t[a]", ("t", ["a"])),
    ("t[a[b],c]]", ("t", ["a[b]", "c]"])),
    ("t[a", ("t[a", [])),
    ("[a]", ("[a]", [])),
    (",[\\,\\]", (",", ["", ""])),
]


@pytest.mark.parametrize(("values", "expected"), QUOTED)
def test_quote_arguments(values: list[str], expected: str) -> None:
    assert _rake.quote_arguments(values) == expected


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_parse_arguments(text: str, expected: list[str]) -> None:
    assert _rake.parse_arguments(text) == expected


@pytest.mark.parametrize(("text", "expected"), TASKS)
def test_parse_task(text: str, expected: tuple[str, list[str]]) -> None:
    assert _rake.parse_task(text) == expected


@given(arguments)
def test_parsing_is_the_inverse_of_quoting(values: list[str]) -> None:
    assert _rake.parse_arguments(_rake.quote_arguments(values)) == values
    assert _rake.parse_task(_rake.task("gitlab:x", values)) == ("gitlab:x", values)


@given(st.lists(json_values))
def test_job_arguments_are_exact_and_always_fit_into_a_task(value: list[t.Any]) -> None:
    text = _rake.job_arguments_json(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value
    assert _rake.parse_arguments(_rake.quote_arguments(["A", "t", "id", text]))[3] == text


@pytest.mark.parametrize(("line", "configuration", "value"), DOCUMENTED)
def test_documented_lines_mean_the_same(line: str, configuration: list[str], value: list[t.Any]) -> None:
    *program, element = shlex.split(line)
    name, documented = _rake.parse_task(element)
    assert (name, documented[:3], json.loads(documented[3])) == (FINALIZE, configuration, value)
    own = _rake.shell_command(FINALIZE, [*configuration, _rake.job_arguments_json(value)])
    *own_program, own_element = shlex.split(own)
    assert own_program == program
    assert _rake.parse_task(own_element) == (name, [*configuration, json.dumps(value, separators=(",", ":"))])


def test_shell_command_is_quoted_only_where_a_shell_would_read_more_than_text() -> None:
    assert _rake.shell_command("db:migrate") == "sudo gitlab-rake db:migrate"
    assert _rake.shell_command("t", ["a,b"], program=["rake"]) == "rake 't[a\\,b]'"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([""], "empty"),
        (["a", ""], "empty"),
        (["", "a"], "empty"),
        (["a\nb"], "newline"),
        (["a\0"], "NUL"),
        (["a\udcff"], "Unicode"),
    ],
)
def test_arguments_that_rake_cannot_carry_are_refused_with_the_other_way(values: list[str], reason: str) -> None:
    with pytest.raises(GitLabError, match=reason) as caught:
        _rake.quote_arguments(values)
    assert "gitlab-rails runner" in (caught.value.remedy or "")


@pytest.mark.parametrize("name", ["", "a[b", "a b", "-T", "a\n", "VERSION=1", "a,b"])
def test_names_that_are_no_task_are_refused(name: str) -> None:
    with pytest.raises(GitLabError, match="not the name of a Rake task"):
        _rake.task(name)


NESTED: list[t.Any] = []
NESTED.append(NESTED)


@pytest.mark.parametrize(
    "value",
    ["[]", None, {}, 1, [float("nan")], [float("inf")], [b"x"], [{1: 2}], ["\0"], [{"\ud800": 1}], ["\udcff"], NESTED],
)
def test_job_arguments_that_no_row_can_hold_are_refused(value: t.Any) -> None:
    with pytest.raises(GitLabError, match="job_arguments"):
        _rake.job_arguments_json(value)
