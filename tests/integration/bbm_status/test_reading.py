# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from gitlab_tables import SHAPES, Version, job, migration, tables
from postgres import Cluster

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    find_by_configuration,
    find_by_id,
    read_migrations,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_status import Reading, Selection, status
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Psycopg2Session
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import topology_from_option

Result = dict[str, t.Any]


@dataclass(frozen=True)
class OnThisMachine(Installation):
    """An installation whose files lie in a temporary folder, and whose psql reaches the test's cluster."""

    cluster: Cluster
    version: str

    @property
    def version_file(self) -> str:
        return self.version

    def psql(self, dbname: str) -> list[str]:
        return self.cluster.psql_argv(dbname)


class Host:
    """Runs the probe as a host would."""

    def __init__(self, cluster: Cluster, folder: Path, version: Version) -> None:
        self.folder = folder
        self.version = f"{version[0]}.{version[1]}.0-ee"
        (folder / "VERSION").write_text(f"{self.version}\n")
        self.installation = OnThisMachine("omnibus", "", str(folder / "database.yml"), cluster, str(folder / "VERSION"))

    def configure(self, text: str) -> None:
        (self.folder / "database.yml").write_text(text)

    def output(self, databases: dict[str, str] | None = None) -> str:
        argv = _probe.command(self.installation, databases)
        done = subprocess.run(argv, input=_probe.question(PARTS), capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    def status(self, databases: dict[str, str] | None = None) -> Result:
        answer = _probe.read(self.output(databases), self.installation, databases)
        readings = [Reading(database, answer.parts[database.name]) for database in answer.topology.databases]
        return status(answer.version, readings, Selection())


@pytest.fixture
def host(cluster: Cluster, tmp_path: Path) -> t.Callable[[Version], Host]:
    return lambda version: Host(cluster, tmp_path, version)


def by_network(cluster: Cluster, dbname: str, version: str, files: str = "") -> Result:
    connection = cluster.connect(dbname)
    try:
        answers = Psycopg2Session(connection, "main", dbname).read(PARTS, migration_files=files)
    finally:
        connection.close()
    return status(version, [Reading(topology_from_option({"main": dbname}).databases[0], answers)], Selection())


def known_reasons(result: Result) -> list[str]:
    """Those that are not about GitLab's own files, which are not here."""
    return [reason for reason in result["reasons"] if "was not asked" not in reason]


def timeless(result: Result) -> Result:
    return {name: value for name, value in result.items() if name != "read_at"}


@pytest.mark.parametrize("version", SHAPES)
def test_every_version_reads_alike_by_psql_and_by_network(
    cluster: Cluster, host: t.Callable[[Version], Host], version: Version
) -> None:
    dbname = cluster.create(
        tables(version)
        + migration(version, total_tuple_count=10000, on_hold_until="now() - interval '1 day'")
        + job(1, started_at="now() - interval '5 minutes'", finished_at="now() - interval '4 minutes'")
        + job(1, min_value=1001, max_value=2000, status=1)
        + migration(version, table_name="'others'", status=3)
        + migration(version, table_name="'more'", status=0, job_arguments="""'[["a b","c,d"],null,"\u2028\\\\n"]'""")
    )
    here = host(version)
    result = here.status({"main": dbname})
    assert timeless(result) == timeless(by_network(cluster, dbname, here.version))
    active, _finished, paused = result["migrations"]
    assert active["progress"] == {"percent": 10.0, "done_tuples": 1000, "total_tuples": 10000, "basis": "tuples"}
    assert active["jobs"] == {
        "pending": 0,
        "running": 1,
        "failed": 0,
        "succeeded": 1,
        "exhausted": 0,
        "counted": True,
    }
    # 13.11 does not schedule anything by default.
    assert (active["stalled"], active["eta_seconds"]) == ((True, None) if version == (13, 11) else (False, 1080))
    assert paused["job_arguments"] == [["a b", "c,d"], None, "\u2028\\n"]
    assert result["unfinished"] == ["main_1", "main_3"]
    assert result["safe_to_upgrade"] is False


def test_schema_migrations_that_are_down_are_found_from_the_files(
    cluster: Cluster, host: t.Callable[[Version], Host]
) -> None:
    dbname = cluster.create(
        tables((14, 9))
        + "CREATE TABLE IF NOT EXISTS schema_migrations (version varchar PRIMARY KEY);"
        + "INSERT INTO schema_migrations VALUES ('20210617022324'), ('20991231235959');"
    )
    here = host((14, 9))
    unknown = here.status({"main": dbname})
    assert (unknown["databases"][0]["schema_migrations_down"], unknown["safe_to_upgrade"]) == (None, False)
    for name in (
        "migrate/20210617022324_up.rb",
        "post_migrate/20210709024048_down.rb",
        "migrate/20210101000000_down.rb",
    ):
        file = here.folder / "db" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    down = ["20210101000000", "20210709024048"]
    result = here.status({"main": dbname})
    assert result["databases"][0]["schema_migrations_down"] == down
    assert result["safe_to_upgrade"] is False
    files = "20210617022324 20210709024048 20210101000000"
    assert by_network(cluster, dbname, here.version, files)["databases"] == result["databases"]


def test_arguments_that_were_never_given(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    dbname = cluster.create(tables((14, 0)) + migration((14, 0)))
    assert (
        cluster.run(dbname, "SELECT jsonb_typeof(job_arguments) FROM batched_background_migrations").strip() == "string"
    )
    assert host((14, 0)).status({"main": dbname})["migrations"][0]["job_arguments"] == []


def test_two_databases_are_found_in_the_hosts_own_configuration(
    cluster: Cluster, host: t.Callable[[Version], Host]
) -> None:
    main = cluster.create(tables((16, 3)) + migration((16, 3), status=3))
    ci = cluster.create(tables((16, 3)) + migration((16, 3), status=4))
    here = host((16, 3))
    here.configure(
        f"""\
# This file is managed by gitlab-ctl.
production:
  main:
    adapter: postgresql
    database: {main}
    username: "gitlab"
    password: 'a secret: with database: x'
    host: "/var/opt/gitlab/postgresql"
    database_tasks: true
  ci:
    database: "{ci}"
    host: "/var/opt/gitlab/postgresql"
    password: |
      secret
  geo:
    database: gitlabhq_geo_production
    host: "/var/opt/gitlab/geo-postgresql"
test:
  main:
    database: gitlabhq_test
"""
    )
    assert "secret" not in here.output()
    result = here.status()
    assert [(database["name"], database["dbname"]) for database in result["databases"]] == [("main", main), ("ci", ci)]
    assert result["unfinished"] == ["ci_1"]


def test_two_connections_on_one_database_are_asked_once(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    dbname = cluster.create(tables((16, 3)) + migration((16, 3)))
    here = host((16, 3))
    here.configure(
        f"production:\n  main:\n    database: {dbname}\n  ci:\n    database: {dbname}\n    database_tasks: false\n"
    )
    assert here.output().count(f"@@probe database {dbname}\n") == 1
    assert here.status()["databases"][0]["connections"] == ["main", "ci"]


def test_the_flat_configuration_of_old_versions(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    dbname = cluster.create(tables((14, 0)))
    here = host((14, 0))
    here.configure(f"production:\n  adapter: postgresql\n  database: {dbname}\n  host: '/x'\n")
    assert known_reasons(here.status()) == []


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (None, "Cannot read .*database.yml: No such file or directory..*option databases"),
        ("production:\n  main:\n    database: nowhere\n", "PostgreSQL has no database nowhere"),
        ("production:\n  main:\n    adapter: postgresql\n", "No database of the production environment"),
        (
            "production:\n  main:\n    database: postgres\n",
            "The database postgres has no table batched_background_migrations",
        ),
    ],
)
def test_what_cannot_be_read_is_said(host: t.Callable[[Version], Host], configuration: str | None, words: str) -> None:
    here = host((16, 3))
    if configuration:
        here.configure(configuration)
    with pytest.raises(GitLabError, match=words):
        here.status()


def test_a_locked_table_ends_the_reading(
    cluster: Cluster, host: t.Callable[[Version], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    dbname = cluster.create(tables((16, 3)) + migration((16, 3)))
    connection = cluster.connect(dbname)
    try:
        connection.cursor().execute("LOCK TABLE batched_background_migrations")
        quick = [part._replace(sql=part.sql.replace("'15s'", "'1s'")) for part in PARTS]
        with pytest.raises(
            GitLabError,
            match=f"{dbname} cannot be read, because another session locks a table: .*lock timeout.* Let it end",
        ):
            Psycopg2Session(cluster.connect(dbname), "main", dbname).read(quick)
    finally:
        connection.close()


def test_flags_limit_errors_and_the_old_kind(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    version = (16, 3)
    dbname = cluster.create(
        tables(version)
        + migration(version, status=4)
        + job(1, status=2, attempts=3)
        + job(1, min_value=1001, max_value=2000, status=2, attempts=1)
        + """
INSERT INTO batched_background_migration_job_transition_logs
  (batched_background_migration_job_id, created_at, updated_at, previous_status, next_status, exception_class, exception_message)
VALUES (1, '2026-01-01 00:00+00', now(), 1, 2, 'Old', 'old'), (2, '2026-01-02 00:00+00', now(), 1, 2, 'PG::Error', E'two\\nlines'),
  (2, '2026-01-03 00:00+00', now(), 2, 1, NULL, NULL);
INSERT INTO features (key) VALUES ('execute_batched_migrations_on_schedule'), ('optimize_batched_migrations'), ('unrelated');
INSERT INTO feature_gates (feature_key, key, value) VALUES ('optimize_batched_migrations', 'boolean', 'true');
UPDATE application_settings SET database_max_running_batched_background_migrations = 5;
INSERT INTO background_migration_jobs (class_name, status) VALUES ('B', 1), ('A', 0), ('A', 0), ('A', 1), ('C', 0);"""
    )
    result = host(version).status({"main": dbname})
    assert result["scheduler"] == {
        "execute_batched_migrations_on_schedule": {"enabled": False, "set": True},
        "optimize_batched_migrations": {"enabled": True, "set": True},
        "batched_migrations_parallel_execution": {"enabled": True, "set": False},
        "disallow_database_ddl_feature_flags": {"enabled": None, "set": False},
        "max_running": 5,
    }
    assert result["background_migrations"] == {"pending": {"A": 2, "C": 1}, "total": 3, "in_sidekiq": None}
    failed = result["migrations"][0]
    assert failed["last_error"] == {
        "job_id": 2,
        "exception_class": "PG::Error",
        "exception_message": "two\nlines",
        "at": "2026-01-02T00:00:00Z",
    }
    assert failed["stalled_reasons"] == ["it failed, with 2 failed jobs (1 of them without attempts left)"]


def test_finished_without_a_job_is_suspected_only_where_the_defect_was(
    cluster: Cluster, host: t.Callable[[Version], Host]
) -> None:
    version = (18, 8)
    stamp = "'20250905091200'"
    dbname = cluster.create(
        tables(version)
        + "CREATE TABLE one (id bigint); INSERT INTO one VALUES (1); CREATE TABLE nothing (id bigint);"
        + migration(version, status=3, table_name="'one'", min_value=1, max_value=1, queued_migration_version=stamp)
        + migration(version, status=6, table_name="'nothing'", queued_migration_version=stamp)
        + migration(version, status=3, table_name="'gone'", queued_migration_version=stamp)
        + migration(version, status=3, table_name="'Strange name('", queued_migration_version=stamp)
        + migration(
            version, status=3, table_name="'one'", column_name="'b'", queued_migration_version="'20240101000000'"
        )
        + migration(version, status=3, table_name="'public.one'", queued_migration_version=stamp)
        + job(6)
    )
    here = host(version)
    result = here.status({"main": dbname})
    assert result["unproven"] == ["main_1"]
    assert "the cure is the upgrade to 18.10 or later" in result["reasons"][0]
    cluster.run(dbname, "INSERT INTO schema_migrations VALUES ('20260302103000')")
    assert known_reasons(here.status({"main": dbname})) == []


def test_a_session_that_works_on_the_table_is_seen(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    version = (16, 3)
    dbname = cluster.create(
        tables(version)
        + "CREATE TABLE things (id bigint);"
        + migration(version, updated_at="now() - interval '1 day'")
        + job(1, status=1, updated_at="now() - interval '20 minutes'")
    )
    here = host(version)
    reason = here.status({"main": dbname})["migrations"][0]["stalled_reasons"][0]
    assert reason.startswith("job 1 is marked running but has not changed for 20 min, and no database session")
    worker = cluster.connect(dbname)
    try:
        worker.cursor().execute("UPDATE things SET id = id")
        assert here.status({"main": dbname})["migrations"][0]["stalled"] is False
    finally:
        worker.close()


def scans(cluster: Cluster, dbname: str) -> tuple[int, int]:
    """Return how often the jobs table was read as a whole, and how many of its rows were read by an index."""
    answer = cluster.run(
        dbname,
        "SELECT pg_stat_force_next_flush(); SELECT seq_scan, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        " WHERE relname = 'batched_background_migration_jobs'",
    )
    first, second = answer.strip().split("\n")[-1].split("|")
    return int(first), int(second)


@pytest.mark.parametrize("analysed", [False, True])
def test_many_jobs_cost_no_full_scan_and_a_bounded_reading(
    cluster: Cluster, host: t.Callable[[Version], Host], analysed: bool
) -> None:
    """Whatever the planner believes: an old migration has its jobs at the far end of the primary key, a new one has none."""
    version = (18, 8)
    stamp = "'20250905091200'"
    dbname = cluster.create(
        tables(version)
        + "CREATE TABLE things AS SELECT 1 AS id;"
        + migration(version, max_value=100_000_000, total_tuple_count=100_000_000)
        + migration(version, table_name="'others'", status=3)
        + migration(version, table_name="'old'", status=4)
        + migration(version, table_name="'new'")
        + migration(version, column_name="'b'", status=3, queued_migration_version=stamp)
        + job(3, status=2, attempts=3)
        + """
INSERT INTO batched_background_migration_jobs (created_at, updated_at, started_at, finished_at,
  batched_background_migration_id, min_value, max_value, batch_size, sub_batch_size, status)
SELECT now(), now(), now() - (100000 - n) * interval '1 minute', now() - (100000 - n) * interval '1 minute' + interval '10 s',
  1 + n % 2, (n / 2) * 1000 + 1, (n / 2 + 1) * 1000, 1000, 100, CASE WHEN n % 20000 = 0 THEN 2 ELSE 3 END
FROM generate_series(0, 99999) AS n;"""
        + ("ANALYZE;" if analysed else "")
    )
    before = scans(cluster, dbname)
    result = host(version).status({"main": dbname})
    after = scans(cluster, dbname)
    assert after[0] == before[0]
    assert after[1] - before[1] < 10_600
    shown = result["migrations"][0]
    assert shown["jobs"] == {
        "pending": 0,
        "running": 0,
        "failed": 5,
        "succeeded": None,
        "exhausted": 0,
        "counted": False,
    }
    # 50000 ranges of 1000 keys are covered, five of them failed, of 100 million.
    assert shown["progress"] == {
        "percent": 49.99,
        "done_tuples": None,
        "total_tuples": 100_000_000,
        "basis": "key_range",
    }
    assert shown["rate"] == pytest.approx(1000 / 120, abs=0.01)
    assert shown["eta_seconds"] == pytest.approx(50_005_000 / (1000 / 120), rel=1e-4)
    _active, _finished, old, new, _unproven = result["migrations"]
    assert (old["newest_job"]["id"], old["jobs"]["exhausted"]) == (1, 1)
    assert (new["newest_job"], new["jobs"]["succeeded"], new["progress"]["percent"]) == (None, 0, 0.0)
    assert result["unproven"] == ["main_5"]


def test_finished_migrations_cost_nothing(cluster: Cluster, host: t.Callable[[Version], Host]) -> None:
    version = (16, 3)
    dbname = cluster.create(
        tables(version)
        + migration(version, status=3)
        + "INSERT INTO batched_background_migration_jobs (created_at, updated_at, batched_background_migration_id, min_value,"
        " max_value, batch_size, sub_batch_size, status) SELECT now(), now(), 1, n, n, 1, 1, 3 FROM generate_series(1, 1000) AS n;"
    )
    before = scans(cluster, dbname)
    assert known_reasons(host(version).status({"main": dbname})) == []
    assert scans(cluster, dbname) == before


def test_one_migration_is_found_by_id_and_by_configuration(cluster: Cluster) -> None:
    version = (16, 3)
    dbname = cluster.create(
        tables(version)
        + migration(version, job_arguments="'[null, \"up\"]'")
        + migration(version, job_arguments="'[]'", status=6)
        + migration(version, job_arguments="'[]'", gitlab_schema="'gitlab_ci'")
    )
    connection = cluster.connect(dbname)
    try:
        session = Psycopg2Session(connection, "main", dbname)
        assert [row.id for row in read_migrations(session)] == ["main_1", "main_2", "main_3"]
        found = find_by_id(session, 2)
        assert found is not None and found.state == "finalized"
        assert find_by_id(session, 9) is None
        wanted = ("BackfillThings", "things", "id")
        assert [row.row_id for row in find_by_configuration(session, *wanted, '[null,"up"]')] == [1]
        assert [row.row_id for row in find_by_configuration(session, *wanted, "[]")] == [2, 3]
        assert find_by_configuration(session, *wanted, "null") == []
        assert find_by_configuration(session, *wanted, '["up"]') == []
    finally:
        connection.close()
