# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""db_migrate_status and mark_migration_complete on hosts, over SSH: one database, two connections, two databases."""

from __future__ import annotations

import json
import typing as t

import pytest
from instances import Instances

# Each host's image, and the databases that are behind its connections.
HOSTS = {"schema-one": "gitlab-14.2.7", "schema-shared": "gitlab-16.3.9", "schema-two": "gitlab-17.11.7-two-databases"}
DATABASES = {
    "schema-one": {"main": "gitlabhq_production"},
    "schema-shared": {"main": "gitlabhq_production"},
    "schema-two": {"main": "gitlabhq_production", "ci": "gitlabhq_production_ci"},
}
ONE, SHARED, TWO = HOSTS

SOURCES = [{"source": "sql"}, {"source": "rake"}]

JOURNAL = "/var/lib/gitlab_fleet_upgrade/marked.jsonl"
# Its table exists on every instance; deleting its row is what a restore into a database that is not empty leaves.
CREATE_LFS_OBJECTS = "20151103134857"
ALREADY_EXISTS = (
    "rake aborted!\nStandardError: An error has occurred, this and all later migrations canceled:\n\n"
    'PG::DuplicateTable: ERROR:  relation "{}" already exists\n'
)
INIT_SCHEMA = "20181228175414"
REASON = "left over by a restore, compared with a new installation"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("schema") as instances:
        instances.up(HOSTS)
        yield instances


@pytest.fixture
def hosts(fleet: Instances) -> t.Iterator[Instances]:
    """The instances, whose schema_migrations and journal are put back afterwards."""
    kept = {(host, dbname): rows(fleet, host, dbname) for host in HOSTS for dbname in DATABASES[host].values()}
    yield fleet
    for (host, dbname), versions in kept.items():
        values = ", ".join(f"('{version}')" for version in versions)
        fleet.sql(host, f"TRUNCATE schema_migrations; INSERT INTO schema_migrations (version) VALUES {values};", dbname)
        fleet.sh(host, f"rm -f {JOURNAL}")


def rows(fleet: Instances, host: str, dbname: str = "gitlabhq_production") -> list[str]:
    return fleet.sql(host, "SELECT version FROM schema_migrations ORDER BY version", dbname).splitlines()


def all_rows(fleet: Instances, host: str) -> dict[str, list[str]]:
    return {name: rows(fleet, host, dbname) for name, dbname in DATABASES[host].items()}


def forget(fleet: Instances, host: str, version: str = CREATE_LFS_OBJECTS, *names: str) -> None:
    for name in names or DATABASES[host]:
        fleet.sql(host, f"DELETE FROM schema_migrations WHERE version = '{version}'", DATABASES[host][name])


def journal(fleet: Instances, host: str) -> list[dict[str, t.Any]]:
    text = fleet.sh(host, f"cat {JOURNAL} 2>/dev/null || true")
    return [json.loads(line) for line in text.splitlines()]


def status(fleet: Instances, host: str, **options: t.Any) -> dict[str, t.Any]:
    return fleet.run(host, "db_migrate_status", **options)


def mark(fleet: Instances, host: str, **options: t.Any) -> dict[str, t.Any]:
    return fleet.run(host, "mark_migration_complete", **{"reason": REASON, **options})


@pytest.mark.parametrize("host", HOSTS)
def test_both_sources_give_the_same_result(hosts: Instances, host: str) -> None:
    clean = status(hosts, host)
    assert clean["all_up"] is True
    assert [database["name"] for database in clean["databases"]] == list(DATABASES[host])
    assert len(clean["migrations"]) == sum(len(versions) for versions in all_rows(hosts, host).values())

    last = list(DATABASES[host])[-1]
    forget(hosts, host, CREATE_LFS_OBJECTS, last)
    hosts.sql(host, "INSERT INTO schema_migrations (version) VALUES ('-5'), ('20991231235959')", DATABASES[host][last])
    cases: list[dict[str, t.Any]] = [
        {},
        {"source": "rake"},
        {"state": ["down"], "limit": 1},
        {"limit": 2},
        {"limit": 0},
    ]
    by_sql, by_rake, filtered, newest, none = hosts.run_each(host, "db_migrate_status", cases)
    assert not by_rake["failed"], by_rake
    for key in ("gitlab_version", "migrations", "down", "no_file", "all_up"):
        assert by_sql[key] == by_rake[key]
    assert by_sql["down"] == [
        {
            "database": last,
            "version": CREATE_LFS_OBJECTS,
            "name": "Create lfs objects",
            "state": "down",
            "kind": "regular",
        }
    ]
    assert by_sql["no_file"] == [
        {"database": last, "version": "-005"},
        {"database": last, "version": "20991231235959"},
    ]
    assert by_sql["all_up"] is False
    assert by_sql["databases"][-1]["malformed"] == ["-5"]
    for kind in ("regular", "post_deployment"):
        assert any(migration["kind"] == kind for migration in by_sql["migrations"])

    assert filtered["migrations"] == filtered["down"] == by_sql["down"]
    assert len(newest["migrations"]) == 2 * len(DATABASES[host])
    assert none["migrations"] == []


@pytest.mark.parametrize("host", HOSTS)
def test_what_db_migrate_fails_on_is_marked_once(hosts: Instances, host: str) -> None:
    forget(hosts, host)
    task = "db:migrate" if host != TWO else "db:migrate:main"
    error_text = hosts.fails(host, f"gitlab-rake {task} 2>&1")
    assert "PG::DuplicateTable" in error_text

    before = all_rows(hosts, host)
    planned = mark(hosts, host, error_text=error_text, check=True)
    assert planned["changed"], planned
    assert all_rows(hosts, host) == before
    assert journal(hosts, host) == []

    done = mark(hosts, host, error_text=error_text)
    assert done["changed"], done
    assert (done["version"], done["name"], done["kind"]) == (CREATE_LFS_OBJECTS, "Create lfs objects", "regular")
    assert done["diff"] == planned["diff"]
    assert done["databases"] == planned["databases"]
    assert done["existing_object"] == planned["existing_object"]
    assert planned["commands"][-1] in done["commands"]
    (relation,) = [one for one in done["existing_object"]["relations"] if one["database"] == "main"]
    columns = hosts.sql(
        host, "SELECT column_name FROM information_schema.columns WHERE table_name = 'lfs_objects' ORDER BY 1"
    )
    assert sorted(column["name"] for column in relation["columns"]) == columns.splitlines()
    assert relation["comparison"] == {"result": "same", "differences": [], "extra": []}

    begin, end = journal(hosts, host)
    assert (begin["event"], end["event"]) == ("begin", "marked")
    assert (end["version"], end["reason"], end["user"]) == (CREATE_LFS_OBJECTS, REASON, "root")
    assert hosts.sh(host, f"stat -c '%a %U' {JOURNAL}") == "600 root"

    # This migration's output names no database, so it was marked wherever it was down and its table exists.
    assert all_rows(hosts, host) == {name: sorted([*versions, CREATE_LFS_OBJECTS]) for name, versions in before.items()}

    again = mark(hosts, host, error_text=error_text)
    assert not again["changed"]
    assert not again["failed"]
    assert again["journal"] is None
    assert len(journal(hosts, host)) == 2


def test_a_table_that_is_another_one_is_not_marked_unless_that_is_accepted(hosts: Instances) -> None:
    forget(hosts, ONE)
    error_text = hosts.fails(ONE, "gitlab-rake db:migrate 2>&1")
    hosts.sql(ONE, "ALTER TABLE lfs_objects RENAME oid TO other; ALTER TABLE lfs_objects ALTER size DROP NOT NULL")
    before = rows(hosts, ONE)
    try:
        refused = mark(hosts, ONE, error_text=error_text)
        assert refused["failed"]
        assert "oid is missing; size may be null, and the other way round it would be" in refused["msg"]
        by_version = mark(hosts, ONE, version=CREATE_LFS_OBJECTS)
        assert (by_version["failed"], by_version["msg"]) == (True, refused["msg"])
        assert rows(hosts, ONE) == before
        assert journal(hosts, ONE) == []
        accepted = mark(hosts, ONE, error_text=error_text, accept_difference=True)
        assert accepted["changed"], accepted
        assert accepted["existing_object"]["relations"][0]["comparison"]["extra"] == ["other"]
    finally:
        hosts.sql(ONE, "ALTER TABLE lfs_objects RENAME other TO oid; ALTER TABLE lfs_objects ALTER size SET NOT NULL")


def test_every_table_of_the_migration_is_compared(hosts: Instances) -> None:
    forget(hosts, ONE, INIT_SCHEMA)
    before = rows(hosts, ONE)
    error_text = f"== {INIT_SCHEMA} InitSchema: migrating ====\n" + ALREADY_EXISTS.format("features")
    hosts.sql(ONE, "ALTER TABLE feature_gates RENAME TO kept_away")
    try:
        result = mark(hosts, ONE, error_text=error_text)
    finally:
        hosts.sql(ONE, "ALTER TABLE kept_away RENAME TO feature_gates")
    assert result["failed"]
    assert f"feature_gates in the database main is not the table that migration {INIT_SCHEMA} makes" in result["msg"]
    assert "the table feature_gates is not there" in result["msg"]
    assert rows(hosts, ONE) == before
    assert journal(hosts, ONE) == []
    hosts.sql(ONE, f"INSERT INTO schema_migrations VALUES ('{INIT_SCHEMA}')")


def test_what_cannot_be_compared_is_not_marked_unless_that_is_accepted(hosts: Instances) -> None:
    forget(hosts, ONE)
    error_text = f"== {CREATE_LFS_OBJECTS} CreateLfsObjects: migrating ====\n" + ALREADY_EXISTS.format(
        "lfs_objects_pkey"
    )
    refused = mark(hosts, ONE, error_text=error_text)
    assert refused["failed"]
    assert f"It cannot be told whether what exists is what migration {CREATE_LFS_OBJECTS} makes" in refused["msg"]
    assert refused["existing_object"]["unclear"]
    assert journal(hosts, ONE) == []
    accepted = mark(hosts, ONE, error_text=error_text, accept_difference=True)
    assert accepted["changed"], accepted


def test_the_database_that_the_text_names_is_marked_alone(hosts: Instances) -> None:
    forget(hosts, TWO)
    before = all_rows(hosts, TWO)
    # As the migrations of 15.0 and later announce themselves.
    error_text = f"ci: == {CREATE_LFS_OBJECTS} CreateLfsObjects: migrating ====\n" + ALREADY_EXISTS.format(
        "lfs_objects"
    )
    result = mark(hosts, TWO, error_text=error_text)
    assert result["changed"], result
    assert all_rows(hosts, TWO) == {**before, "ci": sorted([*before["ci"], CREATE_LFS_OBJECTS])}


def test_every_database_where_it_is_down_is_marked(hosts: Instances) -> None:
    forget(hosts, TWO)
    result = mark(hosts, TWO, version=CREATE_LFS_OBJECTS)
    assert result["changed"], result
    assert [argv[-1] for argv in result["commands"] if "rake" in argv[0]] == [
        f"gitlab:db:mark_migration_complete[{CREATE_LFS_OBJECTS}]"
    ]
    assert status(hosts, TWO)["all_up"]


@pytest.mark.parametrize(
    ("given", "down", "marked"), [("ci", ["main", "ci"], "ci"), (None, ["ci"], "ci"), ("main", ["main", "ci"], "main")]
)
def test_only_the_wanted_database_is_marked(hosts: Instances, given: str | None, down: list[str], marked: str) -> None:
    forget(hosts, TWO, CREATE_LFS_OBJECTS, *down)
    before = all_rows(hosts, TWO)
    result = mark(hosts, TWO, version=CREATE_LFS_OBJECTS, **({"database": given} if given else {}))
    assert result["changed"], result
    assert [argv[-1] for argv in result["commands"] if "rake" in argv[0]] == [
        f"gitlab:db:mark_migration_complete:{marked}[{CREATE_LFS_OBJECTS}]"
    ]
    assert all_rows(hosts, TWO) == {**before, marked: sorted([*before[marked], CREATE_LFS_OBJECTS])}


def test_a_shared_connection_stands_for_its_database(hosts: Instances) -> None:
    forget(hosts, SHARED)
    result = mark(hosts, SHARED, version=CREATE_LFS_OBJECTS, database="ci")
    assert result["databases"] == [{"name": "main", "before": "down", "after": "up"}], result


# Options, and what the refusal says.
REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"version": "-5"}, "14 digits"),
    ({"version": "123abc"}, "14 digits"),
    ({"version": f"{CREATE_LFS_OBJECTS}x"}, "14 digits"),
    ({"version": f" {CREATE_LFS_OBJECTS} "}, "14 digits"),
    ({"version": ""}, "14 digits"),
    ({"version": "20991231235959"}, "no migration 20991231235959"),
    ({"version": CREATE_LFS_OBJECTS, "reason": " \n"}, "reason is empty"),
    ({"version": CREATE_LFS_OBJECTS, "database": "sec"}, "no database 'sec'"),
    ({"version": CREATE_LFS_OBJECTS, "error_text": "x"}, "mutually exclusive"),
    ({}, "one of the following is required"),
    ({"error_text": ""}, "does not tell"),
    (
        {"error_text": "rake aborted!\nActiveRecord::LockWaitTimeout: PG::LockNotAvailable: ERROR: x"},
        "does not tell",
    ),
    (
        {
            "error_text": f"== {CREATE_LFS_OBJECTS} CreateLfsObjects: migrating ====\n"
            + ALREADY_EXISTS.format("not_there")
        },
        "the database main has none",
    ),
    (
        {"error_text": "== 20991231235959 CreateNothing: migrating ====\n" + ALREADY_EXISTS.format("lfs_objects")},
        "no migration 20991231235959",
    ),
    ({"version": CREATE_LFS_OBJECTS, "databases": {"main": "not_there"}}, "not_there"),
    ({"version": CREATE_LFS_OBJECTS, "database_backend": "psycopg2"}, "psycopg2"),
    ({"version": CREATE_LFS_OBJECTS, "install_type": "source"}, "/home/git/gitlab"),
]


def test_what_must_not_be_marked_is_refused_and_nothing_changes(hosts: Instances) -> None:
    forget(hosts, ONE)
    before = all_rows(hosts, ONE)
    cases = [{"reason": REASON, **options} for options, _said in REFUSED]
    results = hosts.run_each(ONE, "mark_migration_complete", cases)
    for (options, said), result in zip(REFUSED, results, strict=True):
        assert result["failed"], options
        assert said in result["msg"], options
    assert all_rows(hosts, ONE) == before
    assert journal(hosts, ONE) == []


def test_a_mark_that_left_no_row_is_a_failure_whatever_rake_says(hosts: Instances) -> None:
    forget(hosts, ONE)
    hosts.sh(
        ONE,
        "cd /opt/gitlab/bin; mv gitlab-rake gitlab-rake.kept;"
        f"printf '#!/bin/sh\\necho \"Successfully marked {CREATE_LFS_OBJECTS} as complete\"\\n' > gitlab-rake; chmod 755 gitlab-rake",
    )
    try:
        result = mark(hosts, ONE, version=CREATE_LFS_OBJECTS)
    finally:
        hosts.sh(ONE, "cd /opt/gitlab/bin; mv gitlab-rake.kept gitlab-rake")
    assert result["failed"]
    assert "there is no row" in result["msg"]
    assert not result["changed"]
    assert "Successfully marked" in result["output"]
    assert [line["event"] for line in journal(hosts, ONE)] == ["begin", "not marked"]


def test_a_database_that_is_down_is_said_so(hosts: Instances) -> None:
    hosts.sh(ONE, "gitlab-ctl stop postgresql")
    try:
        results = hosts.run_each(ONE, "db_migrate_status", SOURCES)
        results.append(mark(hosts, ONE, version=CREATE_LFS_OBJECTS))
    finally:
        hosts.sh(ONE, "gitlab-ctl start postgresql")
        hosts.await_ready(ONE)
    for result in results:
        assert result["failed"]
        assert "postgresql" in result["remedy"]
    assert journal(hosts, ONE) == []


def test_a_database_without_the_table_is_said_so(hosts: Instances) -> None:
    hosts.sql(ONE, "ALTER TABLE schema_migrations RENAME TO kept_away")
    try:
        results = hosts.run_each(ONE, "db_migrate_status", SOURCES)
    finally:
        hosts.sql(ONE, "ALTER TABLE IF EXISTS kept_away RENAME TO schema_migrations")
    for result in results:
        assert result["failed"]
        assert "schema_migrations" in result["msg"]
