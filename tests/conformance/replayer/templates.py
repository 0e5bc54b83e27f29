# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases that every replay begins with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .application import Application
from .cluster import Cluster

MAIN = "template_main"
CI = "template_ci"

# The tables of the recordings, in the place of the application's own.
RECORDED_TABLES = """
DROP TABLE lfs_objects, events, taggings, ci_builds CASCADE;
TRUNCATE schema_migrations;
ALTER TABLE batched_background_migrations ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now();
CREATE TABLE events (
  id bigserial PRIMARY KEY, id_convert_to_bigint bigint NOT NULL DEFAULT 0, project_id integer, action smallint NOT NULL DEFAULT 1
);
CREATE TABLE taggings (
  id bigserial PRIMARY KEY, taggable_id integer,
  id_convert_to_bigint bigint NOT NULL DEFAULT 0, taggable_id_convert_to_bigint bigint
);
CREATE TABLE empty_things (id bigserial PRIMARY KEY, id_convert_to_bigint bigint NOT NULL DEFAULT 0);
"""
MAIN_ROWS = """
INSERT INTO events (project_id) SELECT n % 100 FROM generate_series(1, 50000) AS n;
INSERT INTO taggings (taggable_id) SELECT n FROM generate_series(1, 5000) AS n;
ANALYZE events; ANALYZE taggings;
"""
CI_ROWS = """
CREATE TABLE ci_builds (id bigserial PRIMARY KEY, id_convert_to_bigint bigint NOT NULL DEFAULT 0);
INSERT INTO ci_builds SELECT FROM generate_series(1, 3000);
ANALYZE ci_builds;
"""


def make(cluster: Cluster, application: Application) -> None:
    """Lets the application make its own tables, then adds those of the recordings."""
    cluster.sql("postgres", f"CREATE DATABASE {MAIN};")
    application.configure({"main": MAIN})
    subprocess.run(
        ["rake", "gitlab:db:configure"],
        cwd=application.folder,
        env=application.environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    cluster.sql(MAIN, RECORDED_TABLES)
    cluster.sql("postgres", f"CREATE DATABASE {CI} TEMPLATE {MAIN};")
    cluster.sql(MAIN, MAIN_ROWS)
    cluster.sql(CI, CI_ROWS)


def worker_database(name: str, worker: int) -> str:
    """The name of a replay's database; two replays run at a time."""
    return f"gitlabhq_{name}_w{worker}"


def log_of(folder: Path) -> Path:
    return folder / "log" / "application_json.log"
