# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is dropped from a real PostgreSQL and what stays, by both ways of asking."""

from __future__ import annotations

import subprocess
import typing as t
from contextlib import closing
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _database_clean as dc
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    PsqlSession,
    Psycopg2Session,
    Session,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

if t.TYPE_CHECKING:
    from postgres import Cluster

ROLES = """
DO $$ BEGIN
  IF to_regrole('app') IS NULL THEN CREATE ROLE app; CREATE ROLE monitor; END IF;
END $$;
"""

# One of each kind that PostgreSQL has in a schema, names that need quotes, and what must stay.
EVERYTHING = """
CREATE EXTENSION pg_trgm;
CREATE EXTENSION btree_gist;
CREATE SCHEMA own_extensions AUTHORIZATION app;
CREATE EXTENSION citext SCHEMA own_extensions;
GRANT ALL ON SCHEMA public TO app;
SET ROLE app;
CREATE TABLE schema_migrations (version varchar PRIMARY KEY);
CREATE TABLE projects (id serial PRIMARY KEY, name text, weight int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE "Odd ""name"" :'x' :y %(z)s ; \\" (id int REFERENCES projects);
CREATE INDEX names ON projects USING gin (name public.gin_trgm_ops);
CREATE VIEW some_projects AS SELECT id FROM projects;
CREATE VIEW fewer_projects AS SELECT id FROM some_projects;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM projects;
CREATE SEQUENCE lone_seq;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b mood);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE moods (id posint, mood mood, pair pair);
CREATE FUNCTION next_id() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION next_id(posint) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE defaults (id int DEFAULT next_id());
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION touch();
CREATE PROCEDURE work() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE COLLATION plain FROM "C";
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
CREATE TEXT SEARCH DICTIONARY dictionary (TEMPLATE = simple);
CREATE STATISTICS related ON id, name FROM projects;
RESET ROLE;
CREATE SCHEMA gitlab_partitions_dynamic AUTHORIZATION app;
CREATE SCHEMA gitlab_partitions_static AUTHORIZATION app;
CREATE SCHEMA "Newer Things" AUTHORIZATION app;
SET ROLE app;
CREATE TABLE audit (id bigint, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE gitlab_partitions_dynamic.audit_1 PARTITION OF audit FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE gitlab_partitions_dynamic.audit_2 PARTITION OF audit FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE gitlab_partitions_static.rest PARTITION OF audit DEFAULT PARTITION BY RANGE (at);
CREATE TABLE "Newer Things".thing (id int);
CREATE FUNCTION "Newer Things".made() RETURNS mood LANGUAGE sql AS $$ SELECT 'good'::public.mood $$;
RESET ROLE;
CREATE FUNCTION pg_shadow_lookup(name text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT name';
ALTER FUNCTION pg_shadow_lookup OWNER TO monitor;
CREATE SCHEMA watch AUTHORIZATION monitor;
CREATE TABLE watch.samples (id serial);
ALTER TABLE watch.samples OWNER TO monitor;
CREATE VIEW watch.names AS SELECT name FROM projects;
INSERT INTO schema_migrations VALUES ('20210622041846');
"""

KEPT = [
    ("function", "public.pg_shadow_lookup(pg_catalog.text)"),
    ("sequence", "watch.samples_id_seq"),
    ("table", "watch.samples"),
]


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


@pytest.fixture(params=["psql", "psycopg2"])
def make(request: pytest.FixtureRequest, cluster: Cluster) -> t.Iterator[t.Callable[[str], Session]]:
    """Open a session on a database by one of the two ways."""
    connections: list[t.Any] = []

    def open_session(dbname: str) -> Session:
        if request.param == "psql":
            installation: t.Any = SimpleNamespace(psql=cluster.psql_argv, working_directory=None)
            return PsqlSession(Runner(), installation, "main", dbname)
        connections.append(cluster.connect(dbname))
        return Psycopg2Session(connections[-1], "main", dbname)

    yield open_session
    for connection in connections:
        connection.close()


@pytest.fixture
def dbname(cluster: Cluster) -> str:
    name = cluster.create(ROLES)
    cluster.run("postgres", f"ALTER DATABASE {name} OWNER TO app")
    cluster.run(name, EVERYTHING)
    return name


def test_all_of_gitlab_goes_and_the_rest_stays(make: t.Callable[[str], Session], cluster: Cluster, dbname: str) -> None:
    session = make(dbname)
    before = dc.read(session)
    assert before.role == "app"
    assert set(before.counts()) == {
        *("aggregate", "collation", "function", "materialized view", "operator", "procedure"),
        *("schema", "sequence", "statistics object", "table", "text search configuration", "text search dictionary"),
        *("type", "view"),
    }
    session.change(dc.plan(before, batch=3))

    after = dc.read(session)
    assert after.empty
    assert dc.lost_extensions(before, after) == []
    assert [(item.kind, item.identity) for item in after.kept] == KEPT
    assert [item.identity for item in dc.taken_along(before, after)] == ["watch.names"]
    # PostgreSQL's own lists, which know nothing of how the reading asks.
    assert cluster.run(
        dbname,
        "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname !~ '^(pg_|information_schema)' AND relkind NOT IN ('i', 'c') ORDER BY 1",
    ).split() == ["watch.samples", "watch.samples_id_seq"]
    assert cluster.run(
        dbname,
        "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^(pg_|information)'"
        " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')",
    ).split() == ["pg_shadow_lookup"]
    assert (
        cluster.run(
            dbname,
            "SELECT typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname !~ '^(pg_|information)'"
            " AND typelem = 0 AND typrelid = 0 AND NOT EXISTS"
            " (SELECT FROM pg_depend WHERE objid = pg_type.oid AND deptype IN ('e', 'i'))",
        )
        == ""
    )
    assert cluster.run(
        dbname, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information)' ORDER BY 1"
    ).split() == ["own_extensions", "public", "watch"]
    assert cluster.run(dbname, "SELECT extname FROM pg_extension ORDER BY 1").split() == [
        *("btree_gist", "citext", "pg_trgm", "plpgsql")
    ]
    assert dc.plan(after) == []


def test_an_interrupted_run_knows_its_role_to_the_end(
    make: t.Callable[[str], Session], cluster: Cluster, dbname: str
) -> None:
    # The database's owner is another role then, as after an installation by hand.
    cluster.run("postgres", f"ALTER DATABASE {dbname} OWNER TO monitor")
    session = make(dbname)
    transactions = dc.plan(dc.read(session), batch=5)
    session.change(transactions[:4])
    halfway = dc.read(session)
    assert not halfway.empty
    assert halfway.role == "app"
    session.change(dc.plan(halfway, batch=5))
    assert [(item.kind, item.identity) for item in dc.read(session, "app").kept] == KEPT


def test_one_transaction_takes_no_more_locks_than_its_batch(make: t.Callable[[str], Session], cluster: Cluster) -> None:
    tables = "".join(f"CREATE TABLE t{n} PARTITION OF parent FOR VALUES FROM ({n}) TO ({n + 1});\n" for n in range(300))
    indexes = "".join(f"CREATE INDEX ON parent (c{n});\n" for n in range(12))
    columns = ", ".join(f"c{n} int" for n in range(12))
    dbname = cluster.create(f"CREATE TABLE parent (id int, {columns}) PARTITION BY RANGE (id);\n{tables}{indexes}")
    # All at once need one lock for each of 300 tables and 3600 indexes, which is more than there is room for.
    statements = [statement for transaction in dc.plan(dc.read(make(dbname))) for statement in transaction]
    assert len(statements) > 300
    make(dbname).change(dc.plan(dc.read(make(dbname))))
    assert dc.read(make(dbname)).empty


def test_an_empty_database_is_empty(make: t.Callable[[str], Session], cluster: Cluster) -> None:
    contents = dc.read(make(cluster.create()))
    assert (contents.empty, dc.plan(contents), contents.counts()) == (True, [], {})


def test_services_that_are_connected_are_seen(make: t.Callable[[str], Session], cluster: Cluster) -> None:
    dbname = cluster.create()
    with closing(cluster.connect(dbname)) as connection, connection.cursor() as cursor:
        cursor.execute("SET application_name = 'puma: cluster worker 0'")
        reasons = dc.refusals("main", dc.read(make(dbname)))
    assert len(reasons) == 1
    assert "puma: cluster worker 0 from this host" in reasons[0]


def test_a_locked_table_is_told(make: t.Callable[[str], Session], cluster: Cluster) -> None:
    dbname = cluster.create("CREATE TABLE held (id int)")
    session = make(dbname)
    contents = dc.read(session)
    with closing(cluster.connect(dbname)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE held")
        short = [[line.replace(dc.LOCK_TIMEOUT, "200ms") for line in one] for one in dc.plan(contents)]
        with pytest.raises(GitLabError, match="lock"):
            session.change(short)
    assert not dc.read(session).empty
