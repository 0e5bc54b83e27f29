# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._db_migrate import (
    CONFIGURE,
    MIGRATE,
    MigrateJob,
    applied,
    command,
    count,
    wanted,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._reconfigure import updated_resources
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import (
    DOWN,
    NO_FILE,
    POST_DEPLOYMENT,
    REGULAR,
    UP,
    Migration,
)

A, B, C = "20220106111958", "20220215190020", "20220301000000"


def migration(version: str, state: str = DOWN, kind: str | None = REGULAR, database: str = "main") -> Migration:
    return Migration(database, version, f"File {version}", state, kind)


# As recorded: recordings/migrate_pending_announce_database.json
LOG = """main: == 20220106111958 CreateGadgets: migrating ====================================
main: -- create_table(:gadgets)
main:    -> 0.0015s
main: == 20220106111958 CreateGadgets: migrated (0.0015s) ===========================

== 20220215190020 CreatePostThings: migrating =================================
-- create_table(:post_things)
"""


def test_the_rows_say_what_was_applied_and_the_log_how_long_it_took() -> None:
    before = [migration(version).to_dict() for version in (A, B, C)]
    after = [migration(A, UP), migration(B), migration(C, UP)]
    assert applied(before, after, LOG, "main") == [
        {"database": "main", "version": A, "name": "CreateGadgets", "seconds": 0.0015},
        # Up, whoever did it.
        {"database": "main", "version": C, "name": f"File {C}", "seconds": None},
    ]


def test_the_log_alone_proves_nothing() -> None:
    assert applied([migration(A).to_dict()], [migration(A)], LOG, "main") == []


def test_a_log_without_databases_is_about_the_first() -> None:
    log = LOG.replace("main: ", "")
    before = [migration(A, database="main").to_dict(), migration(A, database="ci").to_dict()]
    after = [migration(A, UP, database="main"), migration(A, UP, database="ci")]
    assert [one["seconds"] for one in applied(before, after, log, "main")] == [0.0015, None]


@pytest.mark.parametrize(("skip", "expected"), [(False, [A, B]), (True, [A])])
def test_what_is_to_be_brought_up(skip: bool, expected: list[str]) -> None:
    migrations = [migration(A), migration(B, kind=POST_DEPLOYMENT), migration(C, UP), migration("1", NO_FILE, None)]
    assert [one.version for one in wanted(migrations, skip)] == expected


@pytest.mark.parametrize(
    ("rc", "skip", "now", "expected"),
    [
        (0, False, [migration(A, UP)], True),
        # A newer package has come since.
        (0, False, [migration(A, UP), migration(B)], False),
        (0, True, [migration(A, UP), migration(B, kind=POST_DEPLOYMENT)], True),
        (1, False, [migration(A, UP)], False),
    ],
)
def test_a_success_that_nobody_watched_counts_while_nothing_is_down(
    monkeypatch: pytest.MonkeyPatch, rc: int, skip: bool, now: list[Migration], expected: bool
) -> None:
    monkeypatch.setattr(MigrateJob, "_read", lambda _self: now)
    installation = Installation.create("omnibus")
    instance = t.cast("t.Any", SimpleNamespace(installation=installation))
    work = MigrateJob(instance, t.cast("t.Any", None), {}, MIGRATE, skip, False)
    job = Job("db_migrate", tuple(command(installation, MIGRATE, skip)), "/jobs/x", ENDED, 1.0, rc=rc)
    assert work.counts(job) is expected


def test_databases_without_any_are_counted_too() -> None:
    assert count([migration(A).to_dict()], ["main", "ci"]) == {"main": 1, "ci": 0}


def test_commands() -> None:
    omnibus, source = Installation.create("omnibus"), Installation.create("source")
    assert command(omnibus, MIGRATE, False) == ["/opt/gitlab/bin/gitlab-rake", "db:migrate"]
    assert command(omnibus, CONFIGURE, True) == [
        "/opt/gitlab/bin/gitlab-rake",
        "gitlab:db:configure",
        "SKIP_POST_DEPLOYMENT_MIGRATIONS=true",
    ]
    # sudo -u git would not let the environment through.
    assert command(source, MIGRATE, True)[-1] == "SKIP_POST_DEPLOYMENT_MIGRATIONS=true"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Chef Infra Client finished, 3/769 resources updated in 22 seconds\ngitlab Reconfigured!\n", 3),
        ("Chef Client finished, 0/512 resources updated in 10 seconds\n", 0),
        ("Infra Phase complete, 12/770 resources updated in 01 minutes 02 seconds\n", 12),
        ("Chef Infra Client failed. 2 resources updated in 30 seconds\n", 2),
        ("gitlab Reconfigured!\n", None),
        ("", None),
    ],
)
def test_updated_resources(output: str, expected: int | None) -> None:
    assert updated_resources(output) == expected
