# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_request import (
    Request,
    new_id,
    refuse_connection,
    refuse_other_parts,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._direct_connection import Direct, Server
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

DEFAULTS: dict[str, t.Any] = {
    "skip": [],
    "database_only": False,
    "strategy": "stream",
    "max_concurrency": None,
    "max_storage_concurrency": None,
    "database_host": None,
    "database_port": None,
    "database_user": None,
    "database_overrides": None,
}

# What GitLab itself prunes, lib/backup/manager.rb.
PRUNED = re.compile(r"^(\d{10})(?:_\d{4}_\d{2}_\d{2}(_\d+\.\d+\.\d+((-|\.)(pre|rc\d))?(-ee)?)?)?_gitlab_backup\.tar$")


def command(**options: t.Any) -> list[str]:
    request = Request.create({**DEFAULTS, **options})
    return Installation.create("omnibus").backup("create", request.settings("x"))[2:]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["BACKUP=x"]),
        ({"skip": ["registry", "uploads"]}, ["BACKUP=x", "SKIP=uploads,registry"]),
        ({"database_only": True}, ["BACKUP=x", f"SKIP={','.join(PARTS[1:])}"]),
        ({"strategy": "copy"}, ["BACKUP=x", "STRATEGY=copy"]),
        (
            {"max_concurrency": 4, "max_storage_concurrency": 2},
            ["BACKUP=x", "GITLAB_BACKUP_MAX_CONCURRENCY=4", "GITLAB_BACKUP_MAX_STORAGE_CONCURRENCY=2"],
        ),
        (
            {"database_host": "10.0.0.5", "database_port": 5432, "database_user": "gitlab"},
            ["BACKUP=x", "GITLAB_BACKUP_PGHOST=10.0.0.5", "GITLAB_BACKUP_PGPORT=5432", "GITLAB_BACKUP_PGUSER=gitlab"],
        ),
        ({"database_overrides": {"ci": {"port": 5433}}}, ["BACKUP=x", "GITLAB_BACKUP_CI_PGPORT=5433"]),
    ],
)
def test_the_options_become_variables(options: dict[str, t.Any], words: list[str]) -> None:
    assert command(**options) == words


def test_a_self_compiled_gitlab_has_the_task_alone() -> None:
    request = Request.create(DEFAULTS)
    argv = Installation.create("source").backup("create", request.settings("x"))

    assert argv[-3:] == ["gitlab:backup:create", "RAILS_ENV=production", "BACKUP=x"]


@pytest.mark.parametrize(
    "options",
    [
        {"skip": list(PARTS)},
        {"max_concurrency": 0},
        {"max_storage_concurrency": -1},
        {"database_port": 0},
        {"database_host": "a b"},
        {"database_host": ""},
        {"database_user": "x\n"},
    ],
)
def test_options_without_sense_are_refused(options: dict[str, t.Any]) -> None:
    with pytest.raises(GitLabError) as caught:
        command(**options)
    assert caught.value.remedy


@pytest.mark.parametrize("version", ["14.0.12", "16.11.10-ee", "18.0.0-rc1-ee"])
def test_gitlab_does_not_prune_what_this_collection_names(version: str) -> None:
    name = new_id(version, 1700535909)

    assert name == f"fleet_1700535909_2023_11_21_{version}"
    assert PRUNED.match(f"{name.removeprefix('fleet_')}_gitlab_backup.tar")
    assert not PRUNED.match(f"{name}_gitlab_backup.tar")


DIRECT = Request(direct=Direct(Server("10.0.0.5", 5432)))
SOCKET = [Connection("main", "gitlabhq_production", "/var/opt/gitlab/postgresql", "5432")]
PGBOUNCER = [Connection("main", "gitlabhq_production", "10.0.0.9", "6432")]


@pytest.mark.parametrize(
    ("request_", "version", "connections", "words"),
    [
        (Request(), "16.0.0-ee", SOCKET, None),
        (Request(), "16.0.0-ee", [], None),
        (Request(), "16.0.0-ee", PGBOUNCER, "which is PgBouncer's"),
        (Request(skip=("db",)), "14.0.12-ee", PGBOUNCER, None),
        (DIRECT, "14.0.12-ee", PGBOUNCER, None),
        (DIRECT, "15.11.0-ee", PGBOUNCER, "ignores GITLAB_BACKUP_PGHOST"),
    ],
)
def test_a_dump_through_pgbouncer_is_refused(
    request_: Request, version: str, connections: list[Connection], words: str | None
) -> None:
    refusal = None
    try:
        refuse_connection(request_, GitLabVersion.parse(version), connections)
    except GitLabError as error:
        refusal = error.msg
    assert (refusal is None) if words is None else (refusal is not None and words in refusal)


@pytest.mark.parametrize(
    ("options", "skipped", "words"),
    [
        ({}, [], None),
        ({"skip": ["uploads", "db"]}, ["db", "uploads"], None),
        ({"database_only": True}, [name for name in PARTS if name != "db"], None),
        ({}, [name for name in PARTS if name != "db"], "with these parts only: db; now it is to have all parts"),
        ({"skip": ["db"]}, [], "with all parts; now it is to have these parts only: repositories, "),
    ],
)
def test_a_backup_of_other_parts_is_another_one(
    options: dict[str, t.Any], skipped: list[str], words: str | None
) -> None:
    request = Request.create({**DEFAULTS, **options})
    if words is None:
        refuse_other_parts(request, "samename", skipped)
    else:
        with pytest.raises(GitLabError, match=words):
            refuse_other_parts(request, "samename", skipped)
