# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import (
    Connection,
    Database,
    build_topology,
    parse_database_yml,
    topology_from_option,
)

FLAT = """\
# This file is managed by gitlab-ctl.

production:
  adapter: postgresql
  encoding: unicode
  collation:
  database: gitlabhq_production
  username: "gitlab"
  password: "database: no"
  host: "/var/opt/gitlab/postgresql"
  port: 5432
  socket:
  sslmode:
  variables:
    statement_timeout:
  load_balancing: {"hosts":[]}
"""

SHARED = """\
production:
  main:
    adapter: postgresql
    database: gitlabhq_production
    host: "/var/opt/gitlab/postgresql"
    port: 5432
    sslmode:
    variables:
      statement_timeout:
    load_balancing: {"hosts":[]}
    database_tasks: true
  ci:
    adapter: postgresql
    database: gitlabhq_production # the same
    host: "/var/opt/gitlab/postgresql"
    port: 5432
    database_tasks: false
"""

SPLIT_WITH_GEO = """\
test:
  main:
    database: gitlabhq_test
production:
  ci:
    database: 'gitlabhq_production_ci'
    host: "db.example.com"
  main:
    database: gitlabhq_production
    host: "db.example.com"
  geo:
    database: gitlabhq_geo_production
    host: "/var/opt/gitlab/geo-postgresql"
"""


@pytest.mark.parametrize(
    ("text", "databases", "suffix"),
    [
        pytest.param(FLAT, (Database("main", "gitlabhq_production", ("main",), "gitlab"),), "", id="flat, to 14.x"),
        pytest.param(
            SHARED, (Database("main", "gitlabhq_production", ("main", "ci")),), "", id="two connections, 16.0 on"
        ),
        pytest.param(
            SPLIT_WITH_GEO,
            (
                Database("main", "gitlabhq_production", ("main",)),
                Database("ci", "gitlabhq_production_ci", ("ci",)),
            ),
            ":main",
            id="two databases, geo left out",
        ),
    ],
)
def test_databases_are_found(text: str, databases: tuple[Database, ...], suffix: str) -> None:
    topology = build_topology(parse_database_yml(text))
    assert topology.databases == databases
    assert topology.task_suffix("main") == suffix


def test_flat_file_keeps_what_follows_a_nested_key() -> None:
    text = "production:\n  variables:\n    statement_timeout: 15s\n  database: one\n  host: h\n"
    assert parse_database_yml(text) == [Connection("main", "one", "h")]


def test_a_shared_connection_leads_to_its_database() -> None:
    assert build_topology(parse_database_yml(SHARED)).find("ci").name == "main"


def test_unknown_connection_is_refused_with_the_known_ones() -> None:
    topology = topology_from_option({"ci": "b", "main": "a"})
    with pytest.raises(GitLabError, match="It has: main, ci"):
        topology.find("sec")


@pytest.mark.parametrize(
    "text", ["", "production: *default\n", "development:\n  database: x\n", "production:\n  geo:\n    host: x\n"]
)
def test_nothing_readable_is_an_error_that_names_the_option(text: str) -> None:
    with pytest.raises(GitLabError, match="option databases"):
        parse_database_yml(text)


def test_only_geo_is_an_error() -> None:
    with pytest.raises(GitLabError, match="No database"):
        build_topology([Connection("geo", "gitlabhq_geo_production")])


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=5))
def test_every_connection_that_is_written_is_read(databases: dict[str, t.Any]) -> None:
    text = "production:\n" + "".join(
        f"  {name}:\n    adapter: postgresql\n    database: {database}\n" for name, database in databases.items()
    )
    assert {(entry.name, entry.database) for entry in parse_database_yml(text)} == set(databases.items())


@given(st.text())
def test_no_text_ends_in_a_traceback(text: str) -> None:
    try:
        assert parse_database_yml(text)
    except GitLabError:
        pass
