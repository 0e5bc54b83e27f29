# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GitLab's tables about background migrations, in the shape of a version (columns, defaults, indexes as in db/structure.sql)."""

from __future__ import annotations

Version = tuple[int, int]

# One version of each set of columns.
SHAPES: tuple[Version, ...] = ((13, 11), (14, 0), (14, 9), (15, 4), (16, 3), (17, 8), (18, 8), (19, 2))


def tables(version: Version) -> str:
    """Return the SQL that creates the tables that a version has."""
    parts = [_migrations(version), _jobs(version), BOOKKEEPING, _settings(version)]
    if version >= (14, 9):
        parts.append(TRANSITION_LOGS)
    return "\n".join(parts)


def _columns(version: Version) -> list[str]:
    bounds = "" if version >= (17, 6) else " NOT NULL"
    arguments = "'\"[]\"'" if version <= (14, 0) else "'[]'"
    columns = [
        "id bigserial PRIMARY KEY",
        "created_at timestamptz NOT NULL",
        "updated_at timestamptz NOT NULL",
        f"min_value bigint{bounds} DEFAULT 1",
        f"max_value bigint{bounds}",
        "batch_size integer NOT NULL",
        "sub_batch_size integer NOT NULL",
        '"interval" smallint NOT NULL',
        "status smallint NOT NULL DEFAULT 0",
        "job_class_name text NOT NULL",
        "batch_class_name text NOT NULL DEFAULT 'PrimaryKeyBatchingStrategy'",
        "table_name text NOT NULL",
        "column_name text NOT NULL",
        f"job_arguments jsonb NOT NULL DEFAULT {arguments}",
        "total_tuple_count bigint",
        "pause_ms integer NOT NULL DEFAULT 100" if version >= (14, 0) else "pause_seconds float NOT NULL DEFAULT 0.1",
    ]
    later = [
        ((14, 9), "max_batch_size integer"),
        ((14, 9), "started_at timestamptz"),
        ((15, 0), "on_hold_until timestamptz"),
        ((15, 0), "gitlab_schema text NOT NULL"),
        ((16, 1), "finished_at timestamptz"),
        ((16, 5), "queued_migration_version text"),
        ((17, 6), "min_cursor jsonb"),
        ((17, 6), "max_cursor jsonb"),
    ]
    return columns + [column for since, column in later if version >= since]


def _migrations(version: Version) -> str:
    return f"""
CREATE TABLE batched_background_migrations ({", ".join(_columns(version))});
CREATE INDEX index_batched_background_migrations_on_status ON batched_background_migrations (status);
CREATE UNIQUE INDEX index_batched_background_migrations_on_unique_configuration ON batched_background_migrations
  ({"gitlab_schema, " if version >= (15, 0) else ""}job_class_name, table_name, column_name, job_arguments);"""


def _jobs(version: Version) -> str:
    bounds = "" if version >= (17, 6) else " NOT NULL"
    cursors = ", min_cursor jsonb, max_cursor jsonb" if version >= (17, 6) else ""
    return f"""
CREATE TABLE batched_background_migration_jobs (
  id bigserial PRIMARY KEY, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
  started_at timestamptz, finished_at timestamptz,
  batched_background_migration_id bigint NOT NULL REFERENCES batched_background_migrations (id) ON DELETE CASCADE,
  min_value bigint{bounds}, max_value bigint{bounds}, batch_size integer NOT NULL, sub_batch_size integer NOT NULL,
  status smallint NOT NULL DEFAULT 0, attempts smallint NOT NULL DEFAULT 0, metrics jsonb NOT NULL DEFAULT '{{}}',
  pause_ms integer NOT NULL DEFAULT 100{cursors});
CREATE INDEX index_batched_jobs_by_batched_migration_id_and_id
  ON batched_background_migration_jobs (batched_background_migration_id, id);
CREATE INDEX index_batched_jobs_on_batched_migration_id_and_status
  ON batched_background_migration_jobs (batched_background_migration_id, status);
CREATE INDEX index_migration_jobs_on_migration_id_and_finished_at
  ON batched_background_migration_jobs (batched_background_migration_id, finished_at);
CREATE INDEX index_migration_jobs_on_migration_id_and_max_value
  ON batched_background_migration_jobs (batched_background_migration_id, max_value);"""


def _settings(version: Version) -> str:
    limit = ", database_max_running_batched_background_migrations integer NOT NULL DEFAULT 2"
    return f"""
CREATE TABLE application_settings (
  id bigserial PRIMARY KEY, encrypted_secret text DEFAULT 'hidden'{limit if version >= (15, 8) else ""});
INSERT INTO application_settings DEFAULT VALUES;"""


BOOKKEEPING = """
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);
CREATE TABLE features (
  id bigserial PRIMARY KEY, key varchar NOT NULL UNIQUE, created_at timestamp NOT NULL DEFAULT now(),
  updated_at timestamp NOT NULL DEFAULT now());
CREATE TABLE feature_gates (
  id bigserial PRIMARY KEY, feature_key varchar NOT NULL, key varchar NOT NULL, value varchar,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now(),
  UNIQUE (feature_key, key, value));
CREATE TABLE background_migration_jobs (
  id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
  status smallint NOT NULL DEFAULT 0, class_name text NOT NULL, arguments jsonb NOT NULL DEFAULT '[]');
CREATE INDEX index_background_migration_jobs_on_class_name_and_status_and_id
  ON background_migration_jobs (class_name, status, id);"""

TRANSITION_LOGS = """
CREATE SCHEMA gitlab_partitions_dynamic;
CREATE TABLE batched_background_migration_job_transition_logs (
  id bigserial, batched_background_migration_job_id bigint NOT NULL REFERENCES batched_background_migration_jobs (id) ON DELETE CASCADE,
  created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, previous_status smallint NOT NULL,
  next_status smallint NOT NULL, exception_class text, exception_message text, PRIMARY KEY (id, created_at))
  PARTITION BY RANGE (created_at);
CREATE TABLE gitlab_partitions_dynamic.batched_background_migration_job_transition_logs_000000
  PARTITION OF batched_background_migration_job_transition_logs DEFAULT;
CREATE INDEX i_batched_background_migration_job_transition_logs_on_job_id
  ON batched_background_migration_job_transition_logs (batched_background_migration_job_id);"""


def migration(version: Version, **values: object) -> str:
    """Return the SQL that inserts one migration; ``values`` are SQL literals by column.

    Columns that the version does not have are left out.
    """
    row: dict[str, object] = {
        "created_at": "now() - interval '1 day'",
        "updated_at": "now() - interval '1 minute'",
        "min_value": 1,
        "max_value": 1000000,
        "batch_size": 1000,
        "sub_batch_size": 100,
        '"interval"': 120,
        "status": 1,
        "job_class_name": "'BackfillThings'",
        "table_name": "'things'",
        "column_name": "'id'",
    }
    if version >= (15, 0):
        row["gitlab_schema"] = "'gitlab_main'"
    row.update(values)
    known = {column.split()[0] for column in _columns(version)}
    return _insert("batched_background_migrations", {name: row[name] for name in row if name in known})


def job(migration_id: int, **values: object) -> str:
    """Return the SQL that inserts one job; ``values`` are SQL literals by column."""
    row: dict[str, object] = {
        "batched_background_migration_id": migration_id,
        "created_at": "now() - interval '10 minutes'",
        "updated_at": "now() - interval '1 minute'",
        "min_value": 1,
        "max_value": 1000,
        "batch_size": 1000,
        "sub_batch_size": 100,
        "status": 3,
        "attempts": 1,
    }
    row.update(values)
    return _insert("batched_background_migration_jobs", row)


def _insert(table: str, row: dict[str, object]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(str, row.values()))});"
