# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rolling_back import Rollback

OMNIBUS = Installation.create("omnibus")

GOOD = """\
noise of a login shell
@@probe begin
@@probe version
| 16.3.9-ee
@@probe end 0
@@probe config
| production:
|   main:
|     database: gitlabhq_production
|   ci:
|     database: gitlabhq_production_ci
@@probe end 0
@@probe database gitlabhq_production
@@part server
{"now": "2026-11-20T08:00:00+00:00", "text": "a\u2028b\x85@@probe done"}
@@part migrations
[]
@@probe errors
| psql: a warning
|\x20
@@probe end 0
@@probe database gitlabhq_production_ci
@@part migrations
[{"id": 1}]
@@probe errors
|\x20
@@probe end 0
@@probe done
"""


def test_a_good_answer() -> None:
    answer = _probe.read(GOOD, OMNIBUS, None)
    assert answer.version == "16.3.9-ee"
    assert [database.name for database in answer.topology.databases] == ["main", "ci"]
    assert answer.parts["main"]["server"]["text"] == "a\u2028b\x85@@probe done"
    assert answer.parts["ci"] == {"migrations": [{"id": 1}]}
    assert [command[-3] for command in answer.commands] == ["gitlabhq_production", "gitlabhq_production_ci"]


def test_what_waits_in_sidekiq() -> None:
    assert _probe.read(GOOD, OMNIBUS, None).sidekiq is None
    section = "@@probe sidekiq\n| queued 1\n| scheduled 2\n| retrying 3\n@@probe end 0\n@@probe config\n"
    asked = _probe.read(GOOD.replace("@@probe config\n", section), OMNIBUS, None).sidekiq
    assert asked and asked.numbers == {"queued": 1, "scheduled": 2, "retrying": 3}


def under_way(record: str) -> str:
    return GOOD.replace("@@probe config\n", f"@@probe rollback\n{record}\n@@probe end 0\n@@probe config\n")


def test_a_rollback_that_is_under_way() -> None:
    assert _probe.read(GOOD, OMNIBUS, None).rolling_back is None
    begun = under_way('| {\n|   "backup": "b1",\n|   "finished_at": null\n| }')
    assert _probe.read(begun, OMNIBUS, None).rolling_back == Rollback("b1")
    assert _probe.read(under_way('| {"backup": "b1", "finished_at": 1.5}'), OMNIBUS, None).rolling_back is None
    restored = under_way('| {"backup": "b1", "finished_at": 1.5, "rollback": true}')
    assert _probe.read(restored, OMNIBUS, None).rolling_back == Rollback("b1", restored=True)
    with pytest.raises(GitLabError, match=r"restore[.]json cannot be read"):
        _probe.read(under_way('| {"backup": "b'), OMNIBUS, None)


def test_the_operators_databases_go_before_the_hosts_own() -> None:
    answer = _probe.read(GOOD, OMNIBUS, {"main": "gitlabhq_production"})
    assert list(answer.parts) == ["main"]


def failing(rc: int, stdout: str = "", errors: str = "") -> str:
    head, _mark, rest = GOOD.partition("@@probe database gitlabhq_production_ci\n")
    tail = rest[rest.index("@@probe done") :]
    indented = "".join(f"| {line}\n" for line in errors.split("\n"))
    return f"{head}@@probe database gitlabhq_production_ci\n{stdout}@@probe errors\n{indented}@@probe end {rc}\n{tail}"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        pytest.param("", "The answer of the host is cut off", id="nothing"),
        pytest.param(GOOD.replace("@@probe done\n", ""), "The answer of the host is cut off", id="cut off"),
        pytest.param(
            GOOD.replace("| 16.3.9-ee\n@@probe end 0", "| cat: /x/VERSION: No such file or directory\n@@probe end 1"),
            "Cannot read /opt/gitlab/embedded/service/gitlab-rails/VERSION: No such file or directory..*GitLab is installed",
            id="no GitLab",
        ),
        pytest.param(
            GOOD.replace(
                "gitlabhq_production_ci\n@@probe end 0", "x\n| sed: can't read /x: Permission denied\n@@probe end 2"
            ),
            "Cannot read /var/opt/gitlab/gitlab-rails/etc/database.yml: Permission denied..*become: true",
            id="not root",
        ),
        pytest.param(
            failing(2, errors='psql: error: connection to server on socket "/x" failed: No such file or directory'),
            "gitlabhq_production_ci does not answer: psql: error.*gitlab-ctl start postgresql",
            id="PostgreSQL down",
        ),
        pytest.param(
            failing(2, errors='psql: error: FATAL:  database "gitlabhq_production_ci" does not exist'),
            "PostgreSQL has no database gitlabhq_production_ci.*Correct the option databases",
            id="no such database",
        ),
        pytest.param(
            failing(1, stdout="gitlab-psql error: could not load /opt/gitlab/etc/gitlab-psql-rc\n"),
            "GitLab is not configured on this host",
            id="not configured",
        ),
        pytest.param(
            failing(3, errors="psql:<stdin>:9: ERROR:  canceling statement due to lock timeout"),
            "another session locks a table: .*lock timeout[.] Let it end",
            id="locked",
        ),
        pytest.param(
            failing(0, stdout="@@part migrations\nhello\n"), "answered something that is not JSON", id="not JSON"
        ),
        pytest.param(
            GOOD.replace("@@probe database gitlabhq_production_ci", "@@probe database other"),
            "The database gitlabhq_production_ci was not asked",
            id="a name that the shell read otherwise",
        ),
        pytest.param(
            GOOD.replace(
                "|     database: gitlabhq_production_ci", "|     database: gitlabhq_production\n|     host: elsewhere"
            ),
            "Two databases have the same name on different servers",
            id="ambiguous",
        ),
    ],
)
def test_what_went_wrong_is_said(output: str, words: str) -> None:
    with pytest.raises(GitLabError, match=f"(?s){words}"):
        _probe.read(output, OMNIBUS, None)


@given(st.text())
def test_garbage_is_an_error_and_no_crash(output: str) -> None:
    with pytest.raises(GitLabError):
        _probe.read(output, OMNIBUS, None)


@given(st.data())
def test_a_damaged_answer_is_an_error_or_harmless(data: st.DataObject) -> None:
    lines = GOOD.split("\n")
    place = data.draw(st.integers(0, len(lines) - 1))
    lines[place] = data.draw(st.one_of(st.just(""), st.sampled_from(lines), st.text(max_size=30)))
    try:
        answer = _probe.read("\n".join(lines), OMNIBUS, None)
    except GitLabError:
        return
    assert set(answer.parts) == {database.name for database in answer.topology.databases}


def test_started_tells_whether_the_probe_ran() -> None:
    assert _probe.started(GOOD)
    assert not _probe.started("sudo: sorry, you must have a tty to run sudo\n")


def test_the_command_asks_the_configuration_or_the_databases_that_are_named() -> None:
    argv = _probe.command(OMNIBUS, None)
    assert argv[:2] == ["/bin/sh", "-c"]
    assert argv[4:7] == [OMNIBUS.version_file, OMNIBUS.database_config, ""]
    assert argv[7] == "/var/lib/gitlab_fleet_upgrade/restore.json"
    assert argv[8] == "/var/opt/gitlab/gitlab-rails/etc"
    assert argv[9] == "/opt/gitlab/bin/gitlab-psql" and "-d" not in argv[9:]
    named = _probe.command(OMNIBUS, {"main": "one", "ci": "two", "sec": "one"})
    assert named[5:7] == ["", "one two"]


@pytest.mark.parametrize("name", ["", "a b", "a\nb", " a"])
def test_a_name_that_the_shell_would_split_is_refused(name: str) -> None:
    with pytest.raises(GitLabError, match="is no name of a database"):
        _probe.command(OMNIBUS, {"main": name})
