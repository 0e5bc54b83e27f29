# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalog of a real PostgreSQL says of objects that exist already, by both ways of asking."""

from __future__ import annotations

import subprocess
import typing as t
from contextlib import closing
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _catalog
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _schema_migrations as sm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    PsqlSession,
    Psycopg2Session,
    Session,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

if t.TYPE_CHECKING:
    from postgres import Cluster

OBJECTS = """
CREATE TABLE lfs_objects (id serial PRIMARY KEY, oid varchar(64) NOT NULL, size bigint DEFAULT 0 CHECK (size >= 0), gone int);
ALTER TABLE lfs_objects DROP COLUMN gone;
CREATE UNIQUE INDEX index_lfs_objects_on_oid ON lfs_objects (oid);
CREATE VIEW lfs_sizes AS SELECT id, size FROM lfs_objects;
CREATE TABLE "Odd ""name"" :'x' %(y)s" (id int);
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.lfs_objects (other text);
CREATE TABLE elsewhere.hidden (id int);
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('20210622041846'), ('-5'), ('20151103134857'), ('1''; drop table x; --');
"""


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
    return cluster.create(OBJECTS)


@pytest.fixture(params=["psql", "psycopg2"])
def session(request: pytest.FixtureRequest, cluster: Cluster, dbname: str) -> t.Iterator[Session]:
    if request.param == "psql":
        installation: t.Any = SimpleNamespace(psql=cluster.psql_argv, working_directory=None)
        yield PsqlSession(Runner(), installation, "main", dbname)
        return
    with closing(cluster.connect(dbname)) as connection:
        yield Psycopg2Session(connection, "main", dbname)


def test_a_table_is_described(session: Session) -> None:
    found = _catalog.describe_relation(session, "lfs_objects")
    assert found is not None
    assert found.pop("size_bytes") > 0
    assert found == {
        "name": "lfs_objects",
        "schema": "public",
        "kind": "table",
        "columns": [
            {
                "name": "id",
                "type": "integer",
                "nullable": False,
                "default": "nextval('lfs_objects_id_seq'::regclass)",
            },
            {"name": "oid", "type": "character varying(64)", "nullable": False, "default": None},
            {"name": "size", "type": "bigint", "nullable": True, "default": "0"},
        ],
        "indexes": [
            "CREATE UNIQUE INDEX lfs_objects_pkey ON public.lfs_objects USING btree (id)",
            "CREATE UNIQUE INDEX index_lfs_objects_on_oid ON public.lfs_objects USING btree (oid)",
        ],
        "constraints": ["lfs_objects_pkey PRIMARY KEY (id)", "lfs_objects_size_check CHECK ((size >= 0))"],
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index_lfs_objects_on_oid", "index"),
        ("lfs_sizes", "view"),
        ("lfs_objects_id_seq", "sequence"),
        ("Odd \"name\" :'x' %(y)s", "table"),
    ],
)
def test_other_relations_are_found_by_their_exact_name(session: Session, name: str, kind: str) -> None:
    found = _catalog.describe_relation(session, name)
    assert found is not None
    assert (found["name"], found["kind"]) == (name, kind)


@pytest.mark.parametrize(
    "name", ["nothing", "LFS_OBJECTS", "public.lfs_objects", "hidden", "", "'; SELECT 1; --", "\\q"]
)
def test_what_is_not_there_under_that_name_is_not_found(session: Session, name: str) -> None:
    assert _catalog.describe_relation(session, name) is None


def test_rows_come_as_they_are(session: Session) -> None:
    assert sorted(sm.read_versions(session)) == ["-5", "1'; drop table x; --", "20151103134857", "20210622041846"]
