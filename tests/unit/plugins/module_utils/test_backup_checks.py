# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_checks as checks
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    ConfigurationContents,
    Contents,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_dump import Dump
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import Log, PartRun
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Archive

SHA = "ab" * 32
OTHER = "cd" * 32
TABLES = [*checks.KEY_TABLES, "public.schema_migrations"]
ROWS = dict.fromkeys(checks.KEY_TABLES, 4)
DUMP = Dump("12.6", {**ROWS, "public.schema_migrations": 2}, ("20200101000000", "20210611100359"))
LIVE = checks.Live(TABLES, ROWS, DUMP.schema_migrations)
LOG = Log(
    (
        *(PartRun(name, name, "done", 1) for name in (*checks.ALWAYS, "packages")),
        PartRun("registry", "container registry images", "disabled", 0),
    ),
    (),
    True,
)
CONFIGURATION = ConfigurationContents(
    Archive("/etc/gitlab/config_backup/c.tar", 10, SHA),
    {"etc/gitlab/gitlab.rb": OTHER, "etc/gitlab/gitlab-secrets.json": SHA},
)


def contents(**changes: t.Any) -> Contents:
    """Return an archive with all that must be in it."""
    values: dict[str, t.Any] = {
        "archive": Archive("/var/opt/gitlab/backups/x_gitlab_backup.tar", 10_240, SHA),
        "information": ":gitlab_version: 14.0.12-ee\n:skipped: ''\n",
        "dumps": {"db/database.sql.gz": DUMP},
        "parts": {name: [1, 100] for name in (*checks.ALWAYS, "packages")},
    }
    return Contents(**{**values, **changes})


EXPECTED = checks.Expected(
    version="14.0.12-ee",
    databases=("main",),
    skip=(),
    log=LOG,
    live={"main": LIVE},
    secrets={"acme-1": SHA, "acme-2": SHA},
    configuration=True,
    repository="a.git has something in it",
)


def failed(
    found: Contents, expected: checks.Expected = EXPECTED, configuration: ConfigurationContents | None = CONFIGURATION
) -> dict[str, str]:
    return {one.name: one.detail for one in checks.check(found, configuration, expected) if not one.passed}


def without(parts: t.Mapping[str, t.Any], *names: str) -> dict[str, t.Any]:
    return {name: value for name, value in parts.items() if name not in names}


def test_a_whole_backup_passes_every_check() -> None:
    found = checks.check(contents(), CONFIGURATION, EXPECTED)

    assert [one.name for one in found] == [
        "archive", "version", "skipped", "log", "parts", "dump of main", "schema of main", "rows of main", "configuration", "secrets"
    ]  # fmt: skip
    assert all(one.passed and one.detail for one in found)


def test_a_backup_that_somebody_else_made_has_no_log() -> None:
    assert failed(contents(), replace(EXPECTED, log=None)) == {}


DAMAGED: list[tuple[str, Contents, str, str]] = [
    ("the archive", contents(problems={"": "it is cut short"}), "archive", "cut short"),
    ("no information", contents(information=None), "version", "not in the archive"),
    ("no version", contents(information=":skipped: ''\n"), "version", "does not say"),
    ("an odd version", contents(information=":gitlab_version: latest\n"), "version", "not a version"),
    ("another version", contents(information=":gitlab_version: 14.0.11-ee\n"), "version", "14.0.11-ee, 14.0.12-ee"),
    ("another edition", contents(information=":gitlab_version: 14.0.12\n"), "version", "14.0.12, 14.0.12-ee"),
    (
        "a skipped part",
        contents(information=":gitlab_version: 14.0.12-ee\n:skipped: lfs\n"),
        "skipped",
        "left out: lfs",
    ),
    ("no repositories", contents(parts=without(contents().parts, "repositories")), "parts", "repositories is missing"),
    ("no packages", contents(parts=without(contents().parts, "packages")), "parts", "packages is missing"),
    ("no database", contents(parts=without(contents().parts, "db")), "parts", "db is missing"),
    ("empty part", contents(parts={**contents().parts, "lfs": [1, 0]}), "parts", "lfs is empty"),
    ("empty repositories", contents(parts={**contents().parts, "repositories": [0, 0]}), "parts", "no file, and a.git"),
    (
        "damaged part",
        contents(problems={"uploads.tar.gz": "it is cut short"}),
        "parts",
        "uploads.tar.gz: it is cut short",
    ),
    ("no dump", contents(dumps={}), "dump of main", "db/database.sql.gz: it is not in the archive"),
    (
        "damaged dump",
        contents(dumps={}, problems={"db/database.sql.gz": "it is cut short"}),
        "dump of main",
        "db/database.sql.gz: it is cut short",
    ),
    (
        "no schema",
        contents(dumps={"db/database.sql.gz": replace(DUMP, schema_migrations=())}),
        "schema of main",
        "no row",
    ),
    (
        "older schema",
        contents(dumps={"db/database.sql.gz": replace(DUMP, schema_migrations=DUMP.schema_migrations[:1])}),
        "schema of main",
        "not in the dump: 20210611100359",
    ),
    (
        "no table",
        contents(dumps={"db/database.sql.gz": replace(DUMP, rows=without(DUMP.rows, "public.users"))}),
        "rows of main",
        "not in the dump: public.users",
    ),
    (
        "no rows",
        contents(dumps={"db/database.sql.gz": replace(DUMP, rows={**DUMP.rows, "public.users": 0})}),
        "rows of main",
        "without a row in the dump: public.users (4 now)",
    ),
]


@pytest.mark.parametrize(("found", "name", "words"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_each_damage_fails_one_check(found: Contents, name: str, words: str) -> None:
    problems = failed(found)

    assert list(problems) == [name]
    assert words in problems[name]


def test_rows_that_changed_since_are_no_failure_and_are_told() -> None:
    live = replace(LIVE, rows={**ROWS, "public.users": 7, "public.projects": 3})
    (rows,) = [
        one
        for one in checks.check(contents(), CONFIGURATION, replace(EXPECTED, live={"main": live}))
        if "rows" in one.name
    ]

    assert rows.passed
    assert "public.users 4, now 7" in rows.detail
    assert "public.projects 4, now 3" in rows.detail


def test_an_instance_whose_projects_are_empty_has_no_repositories() -> None:
    found = contents(parts={**contents().parts, "repositories": [0, 0]})

    assert failed(found, replace(EXPECTED, repository=None)) == {}


def test_a_database_that_cannot_be_asked_is_a_failure() -> None:
    assert "could not be asked" in failed(contents(), replace(EXPECTED, live={}))["schema of main"]


def test_every_database_must_be_in_the_archive() -> None:
    expected = replace(EXPECTED, databases=("main", "ci"), live={"main": LIVE, "ci": LIVE})

    assert "db/ci_database.sql.gz: it is not in the archive" in failed(contents(), expected)["dump of ci"]
    both = contents(dumps={"db/database.sql.gz": DUMP, "db/ci_database.sql.gz": DUMP})
    assert failed(both, expected) == {}


def test_the_database_alone() -> None:
    skip = sorted({*checks.ALWAYS, "packages"} - {"db"})
    expected = replace(EXPECTED, skip=skip, log=replace(LOG, parts=(PartRun("db", "database", "done", 1),)))
    information = f":gitlab_version: 14.0.12-ee\n:skipped: '{','.join(skip)}'\n"
    found = contents(information=information, parts={"db": [1, 100]})

    assert failed(found, expected) == {}
    assert checks.skipped_parts(found, expected) == skip


def test_everything_but_the_database() -> None:
    information = ":gitlab_version: 14.0.12-ee\n:skipped: db\n"
    found = contents(information=information, dumps={}, parts=without(contents().parts, "db"))

    assert failed(found, replace(EXPECTED, skip=["db"])) == {}


def test_a_part_that_is_switched_off_need_not_be_there_but_the_database_must() -> None:
    off = replace(LOG, parts=tuple(PartRun(one.name, one.label, "disabled") for one in LOG.parts))
    expected = replace(EXPECTED, log=off)

    assert checks.expected_parts(expected) == ["db", "repositories"]
    assert checks.skipped_parts(contents(parts={"db": [1, 1]}), expected) == sorted(
        {*checks.ALWAYS, "packages", "registry"} - {"db"}
    )


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (replace(LOG, failures=("Dumping uploads failed: no",)), "1 lines tell of a failure: Dumping uploads failed"),
        (replace(LOG, finished=False), "did not come to its end"),
    ],
)
def test_what_the_log_tells_counts_though_the_archive_looks_whole(log: Log, words: str) -> None:
    assert words in failed(contents(), replace(EXPECTED, log=log))["log"]


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (None, "no archive"),
        (replace(CONFIGURATION, problem="it is cut short"), "cut short"),
        (replace(CONFIGURATION, files={"etc/gitlab/gitlab.rb": SHA}), "does not have gitlab-secrets.json"),
        (replace(CONFIGURATION, files={"etc/gitlab/gitlab-secrets.json": SHA}), "does not have gitlab.rb"),
    ],
)
def test_a_configuration_that_is_not_whole(configuration: ConfigurationContents | None, words: str) -> None:
    assert words in failed(contents(), configuration=configuration)["configuration"]


def test_no_configuration_is_wanted() -> None:
    assert failed(contents(), replace(EXPECTED, configuration=False), None) == {}


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({"acme-1": SHA, "acme-2": OTHER}, "differs from the one in the backup on acme-2"),
        ({"acme-1": OTHER, "acme-2": OTHER}, "on acme-1, acme-2"),
        ({"acme-1": SHA, "acme-2": None}, "could not be read: acme-2"),
        ({}, "no node"),
    ],
)
def test_secrets_that_are_not_the_same_everywhere(secrets: dict[str, str | None], words: str) -> None:
    assert words in failed(contents(), replace(EXPECTED, secrets=secrets))["secrets"]
