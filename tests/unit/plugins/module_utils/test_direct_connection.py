# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._direct_connection import (
    BACKUP,
    RESTORE,
    Direct,
    Server,
    problem,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

SOCKET = Connection("main", "gitlabhq_production", "/var/opt/gitlab/postgresql", "5432")
MAIN = Connection("main", "gitlabhq_production", "127.0.0.1", "6432")
CI = Connection("ci", "gitlabhq_production_ci", "127.0.0.1", "6432")
# A second connection to main's database, and one that gitlab-backup leaves alone.
SHARED = Connection("ci", "gitlabhq_production", "127.0.0.1", "6432", database_tasks=False)
GEO = Connection("geo", "gitlabhq_geo_production", "127.0.0.1", "6432")
AS_CONFIGURED, PRIMARY = Direct(), Direct(Server("10.0.0.5", 5432, "gitlab"))
CI_ALONE = Direct(overrides={"ci": Server("10.0.0.6", 5432)})
BOTH = Direct(overrides={"main": Server("10.0.0.5", 5432), "ci": Server("10.0.0.6", 5432)})


@pytest.mark.parametrize(
    ("direct", "version", "connections", "said"),
    [
        (AS_CONFIGURED, "14.0.12-ee", [], None),
        (AS_CONFIGURED, "14.0.12-ee", [SOCKET], None),
        (AS_CONFIGURED, "14.0.12-ee", [SOCKET, CI], "which is PgBouncer's (ci)"),
        (AS_CONFIGURED, "16.6.2-ee", [CI, MAIN], "which is PgBouncer's (ci, main)"),
        (AS_CONFIGURED, "17.8.7-ee", [SOCKET, SHARED, GEO], None),
        (PRIMARY, "14.0.12-ee", [SOCKET, CI], None),
        (PRIMARY, "15.10.8-ee", [MAIN], None),
        (PRIMARY, "15.11.0-ee", [MAIN], "ignores GITLAB_BACKUP_PGHOST"),
        (PRIMARY, "16.6.2-ee", [SOCKET], "ignores GITLAB_BACKUP_PGHOST"),
        (PRIMARY, "16.7.6-ee", [SOCKET], "ignores GITLAB_BACKUP_PGHOST"),
        (PRIMARY, "16.7.7-ee", [MAIN], None),
        (PRIMARY, "16.8.3-ee", [SOCKET], "ignores GITLAB_BACKUP_PGHOST"),
        (PRIMARY, "16.8.4-ee", [CI], None),
        # GitLab keeps the port of database.yml with another host.
        (Direct(Server("10.0.0.5")), "17.8.7-ee", [MAIN], "also with another host"),
        (Direct(Server(user="backup")), "17.8.7-ee", [MAIN], "which is PgBouncer's (main)"),
        (Direct(Server("10.0.0.5")), "17.8.7-ee", [SOCKET], None),
        (Direct(Server(port=5432)), "17.8.7-ee", [MAIN, CI], None),
        # Those of single databases.
        (CI_ALONE, "17.8.7-ee", [MAIN, CI], "which is PgBouncer's (main)"),
        (CI_ALONE, "17.8.7-ee", [SOCKET, CI], None),
        (BOTH, "17.8.7-ee", [MAIN, CI], None),
        (Direct(Server("10.0.0.5", 5432), {"ci": Server("10.0.0.6")}), "17.8.7-ee", [MAIN, CI], None),
        (CI_ALONE, "17.8.7-ee", [SOCKET], "has no database ci"),
        (CI_ALONE, "17.8.7-ee", [], None),
        (BOTH, "15.10.8-ee", [MAIN, CI], "no variables for one database"),
        (BOTH, "16.5.1-ee", [MAIN, CI], "ignores GITLAB_BACKUP_PGHOST"),
        (BOTH, "16.7.7-ee", [MAIN, CI], None),
    ],
)
@pytest.mark.parametrize("work", [BACKUP, RESTORE])
def test_the_way_to_postgresql(
    direct: Direct, version: str, connections: list[Connection], said: str | None, work: str
) -> None:
    found = problem(direct, GitLabVersion.parse(version), connections, work)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert said in found[0]
        assert found[1]


def test_a_version_that_is_deaf_is_not_told_to_use_the_options() -> None:
    for version, named in (("16.6.2-ee", False), ("16.9.0-ee", True)):
        found = problem(AS_CONFIGURED, GitLabVersion.parse(version), [CI], RESTORE)
        assert found is not None
        assert ("with database_host" in found[1]) is named


def test_the_options_become_variables() -> None:
    assert AS_CONFIGURED.settings() == {}
    assert PRIMARY.settings() == {
        "GITLAB_BACKUP_PGHOST": "10.0.0.5",
        "GITLAB_BACKUP_PGPORT": "5432",
        "GITLAB_BACKUP_PGUSER": "gitlab",
    }
    assert Direct(Server(port=5432), {"main": Server("10.0.0.5"), "ci": Server("10.0.0.6", 5433)}).settings() == {
        "GITLAB_BACKUP_PGPORT": "5432",
        "GITLAB_BACKUP_MAIN_PGHOST": "10.0.0.5",
        "GITLAB_BACKUP_CI_PGHOST": "10.0.0.6",
        "GITLAB_BACKUP_CI_PGPORT": "5433",
    }


NOTHING: dict[str, t.Any] = {f"database_{name}": None for name in ("host", "port", "user", "overrides")}


def test_what_was_given_is_read() -> None:
    assert Direct.create(NOTHING) == AS_CONFIGURED
    assert Direct.create({**NOTHING, "database_host": "10.0.0.5", "database_overrides": {}}) == Direct(
        Server("10.0.0.5")
    )
    # Ansible makes text of numbers that come out of templates.
    given = {"main": {"host": "10.0.0.5", "port": "5432"}, "ci": {"port": 5433, "user": "gitlab"}}
    assert Direct.create({**NOTHING, "database_overrides": given}).overrides == {
        "main": Server("10.0.0.5", 5432),
        "ci": Server(None, 5433, "gitlab"),
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"database_host": "a b"}, "database_host cannot be"),
        ({"database_host": ""}, "database_host cannot be"),
        ({"database_user": "x\n"}, "database_user cannot be"),
        ({"database_port": 0}, "database_port cannot be"),
        ({"database_overrides": {"ci": {"host": "a b"}}}, "database_overrides.ci.host cannot be"),
        ({"database_overrides": {"ci": {"host": 5}}}, "database_overrides.ci.host cannot be"),
        ({"database_overrides": {"ci": {"port": "x"}}}, "database_overrides.ci.port cannot be"),
        ({"database_overrides": {"ci": {"port": True}}}, "database_overrides.ci.port cannot be"),
        ({"database_overrides": {"ci": {"hostname": "10.0.0.6"}}}, "database_overrides cannot have ci"),
        ({"database_overrides": {"ci": "10.0.0.6"}}, "database_overrides cannot have ci"),
        ({"database_overrides": {"ci X": {"host": "10.0.0.6"}}}, "database_overrides cannot have ci X"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, t.Any], said: str) -> None:
    with pytest.raises(GitLabError, match=said) as caught:
        Direct.create({**NOTHING, **wrong})
    assert caught.value.remedy
