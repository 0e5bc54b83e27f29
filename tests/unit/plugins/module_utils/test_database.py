# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    Part,
    PsqlSession,
    connection_error,
    for_psql,
    parse_script_output,
    script,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult


class Answering:
    """A runner that answers every command alike and keeps what it was asked."""

    def __init__(self, rc: int, stdout: str, stderr: str = "") -> None:
        self.answer = (rc, stdout, stderr)
        self.asked: list[tuple[list[str], str | None]] = []

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        self.asked.append((list(argv), stdin))
        return CommandResult(list(argv), *self.answer)


def session(runner: Answering) -> PsqlSession:
    return PsqlSession(runner, Installation.create("omnibus"), "main", "gitlabhq_production")


def test_placeholders_become_psql_variables() -> None:
    assert (
        for_psql("a = %(id)s AND b LIKE '50%%' AND c::jsonb = %(arguments)s")
        == "a = :'id' AND b LIKE '50%' AND c::jsonb = :'arguments'"
    )


def test_parameters_reach_psql_as_values_and_never_as_sql() -> None:
    runner = Answering(0, "[]\n")
    value = "x'; DROP TABLE users; --"
    assert session(runner).fetch("SELECT 1 WHERE 'a' = %(value)s", value=value) == []
    ((argv, stdin),) = runner.asked
    assert argv[-2:] == ["-v", f"value={value}"]
    assert stdin is not None and "DROP" not in stdin and ":'value'" in stdin


def test_script_asks_only_where_the_tables_are_and_only_reads() -> None:
    text = script([Part("bbm", ("batched_background_migrations", "features"), "SELECT '1'::jsonb")])
    assert text.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
    assert "to_regclass('batched_background_migrations') IS NOT NULL AND to_regclass('features') IS NOT NULL" in text
    assert text.index("\\if") < text.index("@@part bbm") < text.index("\\endif")


def test_answers_are_read_by_part() -> None:
    assert parse_script_output('noise\n@@part a\n\n{"x": [1, null]}\n@@part b\n[]\n') == {
        "a": {"x": [1, None]},
        "b": [],
    }


def test_a_part_without_an_answer_is_absent() -> None:
    assert parse_script_output("@@part a\n@@part b\n3\n") == {"b": 3}


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "message", "remedy"),
    [
        pytest.param(
            2,
            "",
            'psql: error: connection to server on socket "/var/opt/gitlab/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
            "\tIs the server running locally and accepting connections on that socket?\n",
            "does not answer: .*failed: No such file or directory Is the server .* that socket[.] Start it",
            "gitlab-ctl start postgresql",
            id="down",
        ),
        pytest.param(
            1,
            "/bin/gitlab-psql error: could not load /opt/gitlab/etc/gitlab-psql-rc\n"
            "Either you are not allowed to read the file, or it does not exist yet.\n",
            "",
            "not configured",
            "become: true",
            id="not configured: the text is on stdout",
        ),
        pytest.param(
            3,
            "",
            "psql:<stdin>:2: ERROR:  canceling statement due to lock timeout\nLINE 3:   FROM application_settings",
            "another session locks a table: .*application_settings[.] Let it end",
            "pg_stat_activity",
            id="a table is locked",
        ),
        pytest.param(
            3,
            "",
            "psql:<stdin>:2: ERROR:  canceling statement due to statement timeout",
            "too slow to answer: .*statement timeout[.] Run this again",
            "less busy",
            id="a busy database",
        ),
        pytest.param(
            3, "", "ERROR:  permission denied for table x", "does not let this user read", "login_user", id="other user"
        ),
        pytest.param(
            3,
            "",
            'psql:<stdin>:2: ERROR:  relation "x" does not exist\nLINE 1: SELECT',
            'refused the query: .* "x" does not exist LINE 1: SELECT[.] Look',
            "/var/log/gitlab/postgresql/current",
            id="SQL error",
        ),
    ],
)
def test_psql_errors_say_what_to_do(rc: int, stdout: str, stderr: str, message: str, remedy: str) -> None:
    with pytest.raises(GitLabError, match=message) as caught:
        session(Answering(rc, stdout, stderr)).fetch("SELECT 1")
    assert remedy in str(caught.value)


def test_connection_error_names_the_database() -> None:
    assert connection_error("gitlabhq_production", "FATAL: x", 1).details == {"database": "gitlabhq_production"}
