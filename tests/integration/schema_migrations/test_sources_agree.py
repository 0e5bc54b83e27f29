# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows and files say what a real C(rake db:migrate:status) prints, in every version and with every kind of database.yml."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _schema_migrations as sm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Psycopg2Session
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import build_topology, parse_database_yml

if t.TYPE_CHECKING:
    from postgres import Cluster

APP = Path(__file__).resolve().parents[2] / "mini_gitlab" / "app"
ASSEMBLE = APP / "bin" / "assemble"

FLAT = (
    "production:\n  adapter: postgresql\n  encoding: unicode\n  database: {main}\n  host: {host}\n  username: gitlab\n"
)
ENTRY = "  {name}:\n    adapter: postgresql\n    database: {database}\n    host: {host}\n    username: gitlab\n"

# What somebody marked by hand over the years, as GitLab's own task takes it.
ODD_ROWS = ("-5", "20151103134857abc", "2021062204184", "20991231235959", "1'; drop table x; --")


def versions() -> list[str]:
    return subprocess.run([ASSEMBLE, "--list"], capture_output=True, text=True, check=True).stdout.split()


def minor(version: str) -> tuple[int, int]:
    major, minor_number, *_rest = version.split(".")
    return int(major), int(minor_number)


# Several databases came with 14.3 in the form that the test bed has them.
MODES = {"flat": (0, 0), "one": (14, 3), "shared": (14, 3), "two": (14, 3)}
CASES = [(version, mode) for version in versions() for mode, since in MODES.items() if minor(version) >= since]


@dataclass
class App:
    """One assembled version with its database.yml; rows are set by SQL, as nothing else matters to the status."""

    root: Path
    cluster: Cluster
    text: str

    @property
    def files(self) -> list[sm.MigrationFile]:
        return sm.migration_files(str(self.root))

    @property
    def topology(self) -> t.Any:
        return build_topology(parse_database_yml(self.text))

    def by_rake(self, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.root / "config" / "database.yml").write_text(self.text)
        return subprocess.run(
            ["rake", sm.STATUS_TASK],
            cwd=self.root,
            env={**os.environ, "RAILS_ENV": "production", "LC_ALL": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def by_sql(self) -> list[sm.Migration]:
        with ExitStack() as stack:
            sessions = [
                Psycopg2Session(
                    stack.enter_context(closing(self.cluster.connect(database.dbname))), database.name, database.dbname
                )
                for database in self.topology.databases
            ]
            return sm.read_migrations(sessions, self.files)


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], Path]:
    made: dict[str, Path] = {}

    def assemble(version: str) -> Path:
        if version not in made:
            made[version] = tmp_path_factory.mktemp("app") / version
            subprocess.run([sys.executable, ASSEMBLE, version, made[version]], check=True)
        return made[version]

    return assemble


def database_yml(cluster: Cluster, mode: str) -> str:
    main = cluster.create()
    host = cluster.socket
    if mode == "flat":
        return FLAT.format(main=main, host=host)
    text = "production:\n" + ENTRY.format(name="main", database=main, host=host)
    if mode == "shared":
        text += ENTRY.format(name="ci", database=main, host=host) + "    database_tasks: false\n"
    if mode == "two":
        text += ENTRY.format(name="ci", database=cluster.create(), host=host)
    return text


def set_rows(app: App, dbname: str, rows: t.Iterable[str]) -> None:
    values = ", ".join("('{}')".format(row.replace("'", "''")) for row in rows)
    app.cluster.run(
        dbname,
        "CREATE TABLE IF NOT EXISTS schema_migrations (version varchar NOT NULL PRIMARY KEY);"
        "TRUNCATE schema_migrations;" + (f"INSERT INTO schema_migrations VALUES {values};" if values else ""),
    )


@pytest.fixture
def make(cluster: Cluster, assembled: t.Callable[[str], Path]) -> t.Callable[[str, str], App]:
    return lambda version, mode: App(assembled(version), cluster, database_yml(cluster, mode))


@pytest.mark.parametrize(("version", "mode"), CASES)
def test_both_sources_agree(make: t.Callable[[str, str], App], version: str, mode: str) -> None:
    app = make(version, mode)
    for number, database in enumerate(app.topology.databases):
        # Another half of the files in each database, so that one cannot pass for the other.
        set_rows(app, database.dbname, [*(file.version for file in app.files[number::2]), *ODD_ROWS])

    printed = app.by_rake()
    assert printed.returncode == 0, printed.stderr
    migrations = app.by_sql()
    assert sm.parse_status(printed.stdout, app.topology.databases, app.files) == migrations

    for database in app.topology.databases:
        counts = sm.count_states([one for one in migrations if one.database == database.name])
        assert counts["up"] + counts["down"] == len(app.files)
        assert min(counts.values()) > 0


def test_a_status_without_the_post_deployment_migrations_is_refused(make: t.Callable[[str, str], App]) -> None:
    app = make("14.2.7", "flat")
    set_rows(app, app.topology.databases[0].dbname, [])
    printed = app.by_rake(SKIP_POST_DEPLOYMENT_MIGRATIONS="false")
    assert printed.returncode == 0
    with pytest.raises(GitLabError, match="SKIP_POST_DEPLOYMENT_MIGRATIONS"):
        sm.parse_status(printed.stdout, app.topology.databases, app.files)
    assert {one.state for one in app.by_sql()} == {sm.DOWN}


def test_a_database_without_the_table_is_refused(make: t.Callable[[str, str], App]) -> None:
    app = make("17.11.7", "two")
    set_rows(app, app.topology.find("main").dbname, [])
    with pytest.raises(GitLabError, match=f"{app.topology.find('ci').dbname} has no table schema_migrations"):
        app.by_sql()
