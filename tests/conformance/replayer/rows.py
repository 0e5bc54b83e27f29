# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows into and out of the databases."""

from __future__ import annotations

import json
import typing as t

from .cluster import Cluster, Row

TABLES = (
    "batched_background_migrations",
    "batched_background_migration_jobs",
    "batched_background_migration_job_transition_logs",
)
# How many rows a table has, and in how many the copy is done.
COPIED = (
    "SELECT count(*) AS rows, count(*) FILTER (WHERE id_convert_to_bigint = id) AS rows_with_id_copied FROM {table}"
)
SUMMARIES = {
    "taggings_summary": "SELECT count(*) AS copied FROM taggings"
    " WHERE id_convert_to_bigint = id AND taggable_id_convert_to_bigint = taggable_id"
}
# A migration under way for long: the recorder let all jobs count as younger.
TIMES = {"started_at": "now() - interval '30 days'"}


def literal(column: str, value: t.Any) -> str:
    """A recorded value as SQL."""
    if value is None and column != "job_arguments":
        return "NULL"
    if value == "<ts>":
        return TIMES.get(column, "now()")
    if isinstance(value, (list, dict)) or column == "job_arguments":
        return "'" + json.dumps(value).replace("'", "''") + "'"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def inserts(setup: Row) -> str:
    """SQL that puts the recorded rows in; ids go on after the highest."""
    statements = []
    for table in TABLES:
        for row in setup.get(table, []):
            columns = ", ".join(f'"{column}"' for column in row)
            values = ", ".join(literal(column, value) for column, value in row.items())
            statements.append(f"INSERT INTO {table} ({columns}) VALUES ({values});")
        statements.append(f"SELECT setval('{table}_id_seq', coalesce(max(id), 1), max(id) IS NOT NULL) FROM {table};")
    return "\n".join(statements)


def version_inserts(versions: list[str]) -> str:
    return "".join(
        f"INSERT INTO schema_migrations (version) VALUES ({literal('version', version)});" for version in versions
    )


def versions(cluster: Cluster, database: str) -> list[str]:
    query = 'SELECT version FROM schema_migrations ORDER BY version COLLATE "C"'
    return [row["version"] for row in cluster.answers(database, {"versions": query})["versions"]]


def state(cluster: Cluster, database: str, summaries: list[str]) -> Row:
    """All rows of the engine's tables, and the summaries that are asked for, by their recorded names."""
    queries = {table: f"SELECT * FROM {table} ORDER BY id" for table in TABLES}
    queries |= {name: SUMMARIES.get(name, COPIED.format(table=name.removesuffix("_summary"))) for name in summaries}
    found = cluster.answers(database, queries)
    return {name: rows[0] if name in summaries else rows for name, rows in found.items()}


def copied_events(cluster: Cluster, database: str) -> int:
    return int(cluster.answers(database, {"events": COPIED.format(table="events")})["events"][0]["rows_with_id_copied"])
