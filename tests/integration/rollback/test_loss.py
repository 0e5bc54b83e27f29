# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is counted in a real PostgreSQL as written since a backup, by both ways of asking."""

from __future__ import annotations

import subprocess
import typing as t
from contextlib import closing
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback_loss as loss
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    PsqlSession,
    Psycopg2Session,
    Session,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

if t.TYPE_CHECKING:
    from postgres import Cluster

SINCE = "2026-11-20T10:00:00Z"
# The cluster's own time zone is another one, which must not matter.
ROWS = """
CREATE EXTENSION pg_trgm;
CREATE TABLE projects (id int, created_at timestamp, updated_at timestamp);
INSERT INTO projects VALUES (1, '2026-11-20 09:59:59', '2026-11-20 10:00:01'), (2, '2026-11-20 10:00:01', NULL), (3, NULL, NULL);
CREATE TABLE users (id int, created_at timestamptz);
INSERT INTO users VALUES (1, '2026-11-20 09:59:59+00'), (2, '2026-11-20 15:45:01+05:45');
CREATE TABLE notes (id int, created_at date);
INSERT INTO notes VALUES (1, '2026-11-21');
CREATE TABLE "Odd ""na'me"" :'x' :y 5 %" (created_at timestamp);
CREATE TABLE events (id int) PARTITION BY RANGE (id);
CREATE SCHEMA gitlab_partitions_dynamic;
CREATE TABLE gitlab_partitions_dynamic.events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
INSERT INTO events VALUES (1), (2);
CREATE TABLE schema_migrations (version varchar);
INSERT INTO schema_migrations VALUES ('20210622041846');
CREATE TABLE "newer-one" (id int);
INSERT INTO "newer-one" VALUES (1);
CREATE TABLE empty_newer (id int);
CREATE VIEW seen AS SELECT * FROM projects;
"""
ODD = """public."Odd ""na'me"" :'x' :y 5 %\""""


class Runner:
    """Runs psql as a module's runner does."""

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        done = subprocess.run(argv, input=stdin, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        return CommandResult(list(argv), done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def dbname(cluster: Cluster) -> str:
    return cluster.create(ROWS)


@pytest.fixture(params=["psql", "psycopg2"])
def session(request: pytest.FixtureRequest, cluster: Cluster, dbname: str) -> t.Iterator[Session]:
    if request.param == "psql":
        installation: t.Any = SimpleNamespace(psql=cluster.psql_argv, working_directory=None)
        yield PsqlSession(Runner(), installation, "main", dbname)
        return
    with closing(cluster.connect(dbname)) as connection:
        yield Psycopg2Session(connection, "main", dbname)


def test_every_table_is_counted_with_its_times(session: Session) -> None:
    assert loss.count(session, since=SINCE) == {
        "public.projects": loss.Count(3, 1, 1, "2026-11-20T10:00:01Z"),
        "public.users": loss.Count(2, 1, None, "2026-11-20T10:00:01Z"),
        "public.notes": loss.Count(1),
        ODD: loss.Count(0, 0, None, None),
        "gitlab_partitions_dynamic.events_1": loss.Count(2),
        "public.schema_migrations": loss.Count(1),
        'public."newer-one"': loss.Count(1),
        "public.empty_newer": loss.Count(0),
    }


def test_only_what_is_asked_for_and_there_is_counted(session: Session) -> None:
    assert loss.count(session, only=["public.projects", "public.gone", ODD]) == {
        "public.projects": loss.Count(3),
        ODD: loss.Count(0),
    }
    assert loss.count(session, only=["public.gone"]) == {}


def test_more_tables_than_fit_into_one_statement(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loss.count(session, since=SINCE)
    monkeypatch.setattr(loss, "CHUNK", 3)
    assert loss.count(session, since=SINCE) == whole


def test_names_are_those_that_pg_dump_writes(session: Session, cluster: Cluster, dbname: str) -> None:
    program = cluster.psql_argv(dbname)[0].replace("psql", "pg_dump")
    done = subprocess.run(
        [program, "-h", str(cluster.socket), "-U", "gitlab", "--data-only", dbname],
        capture_output=True,
        text=True,
        check=True,
    )
    dumped = {line.split(" (")[0][len("COPY ") :] for line in done.stdout.splitlines() if line.startswith("COPY ")}
    assert set(loss.count(session)) == dumped


def test_what_a_restore_would_lose(session: Session) -> None:
    backup = {
        "public.projects": 3,
        "public.users": 1,
        "public.notes": 4,
        "public.gone": 5,
        "public.schema_migrations": 0,
        "gitlab_partitions_dynamic.events_1": 2,
        ODD: 0,
    }
    found = loss.differences(backup, loss.count(session, since=SINCE))
    assert [str(one) for one in found if not one.bookkeeping] == [
        'public."newer-one": 1 rows, of which the backup has none'.removeprefix("public."),
        "notes: 3 rows fewer",
        "projects: 1 made since, 1 changed since, newest 2026-11-20T10:00:01Z",
        "users: 1 rows more, 1 made since, newest 2026-11-20T10:00:01Z",
    ]
    assert [one.table for one in found if one.bookkeeping] == ["public.schema_migrations"]


def test_a_name_that_postgresql_would_not_write_is_refused() -> None:
    for name in ("projects", "public.projects; DROP TABLE x", 'public."a', "public.Projects", "public.projects\n"):
        with pytest.raises(GitLabError, match="cannot be the name of a table"):
            loss.check_name(name)
    assert loss.check_name(ODD) == ODD


def test_a_restored_database_is_compared_table_by_table() -> None:
    now = {"public.projects": loss.Count(3), "public.newer": loss.Count(1)}
    assert loss.not_as_in_backup({"public.projects": 3}, now) == {}
    assert list(loss.not_as_in_backup({"public.projects": 4, "public.users": 1}, now).values()) == [
        "public.projects has 3 rows, 4 in the backup",
        "public.users is not there (1 rows in the backup)",
    ]
