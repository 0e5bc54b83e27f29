# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore_connection import Direct, problem
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection

SOCKET = Connection("main", "gitlabhq_production", "/var/opt/gitlab/postgresql", "5432")
BOUNCER = Connection("ci", "gitlabhq_production_ci", "127.0.0.1", "6432")
AS_CONFIGURED, PRIMARY = Direct(), Direct("10.0.0.5", 5432, "gitlab")


@pytest.mark.parametrize(
    ("direct", "version", "connections", "said"),
    [
        (AS_CONFIGURED, "14.0.12-ee", [], None),
        (AS_CONFIGURED, "14.0.12-ee", [SOCKET], None),
        (AS_CONFIGURED, "14.0.12-ee", [SOCKET, BOUNCER], "leads to PgBouncer (ci)"),
        (AS_CONFIGURED, "16.6.2-ee", [BOUNCER], "leads to PgBouncer (ci)"),
        (PRIMARY, "14.0.12-ee", [SOCKET, BOUNCER], None),
        (PRIMARY, "16.6.2-ee", [SOCKET], "ignores GITLAB_BACKUP_PGHOST"),
        (PRIMARY, "16.8.4-ee", [BOUNCER], None),
    ],
)
def test_the_way_to_postgresql(direct: Direct, version: str, connections: list[Connection], said: str | None) -> None:
    found = problem(direct, version, connections)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert said in found[0]


def test_a_version_that_is_deaf_is_not_told_to_use_the_options() -> None:
    for version, named in (("16.6.2-ee", False), ("16.9.0-ee", True)):
        found = problem(AS_CONFIGURED, version, [BOUNCER])
        assert found is not None
        assert ("with database_host" in found[1]) is named


def test_the_options_become_variables() -> None:
    assert AS_CONFIGURED.settings() == {}
    assert PRIMARY.settings() == {
        "GITLAB_BACKUP_PGHOST": "10.0.0.5",
        "GITLAB_BACKUP_PGPORT": "5432",
        "GITLAB_BACKUP_PGUSER": "gitlab",
    }


@pytest.mark.parametrize(
    "wrong", [{"database_host": "a b"}, {"database_host": ""}, {"database_user": "x\n"}, {"database_port": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, t.Any]) -> None:
    options = {"database_host": None, "database_port": None, "database_user": None, **wrong}
    with pytest.raises(GitLabError, match=f"{next(iter(wrong))} cannot be"):
        Direct.create(options)
