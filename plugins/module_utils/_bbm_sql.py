# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What C(bbm_status) asks each database, in one read-only snapshot.

It must stay cheap where the jobs table has millions of rows: nothing is asked about the jobs of finished migrations,
and all that is asked about the others goes by an index and stops at a limit.
"""

from __future__ import annotations

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import JOBS_TABLE, MIGRATIONS, TABLE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part

LOGS_TABLE = "batched_background_migration_job_transition_logs"

# A wrong guess of the planner (tables that were never analysed, one migration with nearly all jobs) must not read a whole
# table, build a bitmap of millions of rows to take some, or sort what an index has in order; the penalty where there is
# no alternative must not switch the compiler on. A lock of a schema migration must end this reading, not block it for
# ever. Incremental sort came with PostgreSQL 13, and GitLab 13.11 runs on 12.
GUARDS = Part(
    "guards",
    (),
    """
SELECT jsonb_build_array(
  set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
  set_config('enable_sort', 'off', true), set_config('jit', 'off', true),
  CASE WHEN current_setting('enable_incremental_sort', true) IS NOT NULL
    THEN set_config('enable_incremental_sort', 'off', true) END,
  set_config('lock_timeout', '15s', true), set_config('statement_timeout', '120s', true))""",
)

# All ages are taken by the database's own clock.
SERVER = Part("server", (), "SELECT jsonb_build_object('now', now(), 'standby', pg_is_in_recovery())")

# A migration's jobs by id, in the order of the index (batched_background_migration_id, id). The conditions are
# comparisons of rows, and the order names both columns, so that no other index serves them: for "the newest of this
# migration", a planner is tempted to walk the primary key, through the jobs of all other migrations.
_BY_ID = (
    "(j.batched_background_migration_id, j.id) > (m.id, 0)"
    " AND (j.batched_background_migration_id, j.id) < (m.id + 1, 0)"
    " ORDER BY j.batched_background_migration_id {0}, j.id {0}"
)
_NEWEST = _BY_ID.format("DESC")

# Succeeded jobs can be millions: they are counted up to 10000. The newest hundred show how far the migration got: a job
# that was split is newer than those of higher ranges. updated_at sorts where an order by id could walk all of them.
JOBS = Part(
    "jobs",
    (TABLE, JOBS_TABLE),
    f"""
SELECT coalesce(jsonb_object_agg(m.id, jsonb_build_object(
  'open', (
    SELECT coalesce(jsonb_object_agg(o.status, to_jsonb(o)), '{{}}'::jsonb)
    FROM (
      SELECT j.status, count(*) AS count, count(*) FILTER (WHERE j.attempts >= 3) AS exhausted,
        sum(j.max_value - j.min_value + 1) AS keys, min(j.updated_at) AS oldest, max(j.updated_at) AS latest
      FROM {JOBS_TABLE} AS j
      WHERE j.batched_background_migration_id = m.id AND j.status IN (0, 1, 2)
      GROUP BY j.status) AS o),
  'succeeded', (
    SELECT jsonb_build_object('count', count(*), 'tuples', coalesce(sum(s.batch_size), 0), 'all', count(*) <= 10000)
    FROM (
      SELECT j.batch_size FROM {JOBS_TABLE} AS j
      WHERE j.batched_background_migration_id = m.id AND j.status = 3 LIMIT 10001) AS s),
  'running', (
    SELECT to_jsonb(r) FROM (
      SELECT j.id, j.updated_at, j.attempts FROM {JOBS_TABLE} AS j
      WHERE j.batched_background_migration_id = m.id AND j.status = 1 ORDER BY j.updated_at LIMIT 1) AS r),
  'newest', (
    SELECT to_jsonb(j) FROM {JOBS_TABLE} AS j WHERE {_NEWEST} LIMIT 1),
  'recent', (
    SELECT coalesce(jsonb_agg(jsonb_build_array(
      extract(epoch FROM r.started_at), extract(epoch FROM r.finished_at), r.batch_size, r.max_value - r.min_value + 1)
      ORDER BY r.id), '[]'::jsonb)
    FROM (
      SELECT * FROM (
        SELECT * FROM {JOBS_TABLE} AS j WHERE {_NEWEST} LIMIT 100) AS n
      WHERE n.status = 3 AND n.finished_at IS NOT NULL ORDER BY n.finished_at DESC LIMIT 20) AS r),
  'reached', (
    SELECT jsonb_build_object('max_value', max(n.max_value), 'latest', max(n.updated_at))
    FROM (
      SELECT j.max_value, j.updated_at FROM {JOBS_TABLE} AS j WHERE {_NEWEST} LIMIT 100) AS n)
)), '{{}}'::jsonb)
FROM {TABLE} AS m WHERE m.status NOT IN (3, 6)""",
)

# The log of each job on its own, in an order that no index has: the log can be as long as the jobs are many.
ERRORS = Part(
    "errors",
    (TABLE, JOBS_TABLE, LOGS_TABLE),
    f"""
SELECT coalesce(jsonb_object_agg(m.id, e.error), '{{}}'::jsonb)
FROM {TABLE} AS m
CROSS JOIN LATERAL (
  SELECT jsonb_build_object('job_id', f.id, 'exception_class', n.exception_class,
    'exception_message', n.exception_message, 'at', n.created_at) AS error
  FROM (
    SELECT j.id FROM {JOBS_TABLE} AS j
    WHERE j.batched_background_migration_id = m.id AND j.status IN (0, 1, 2)
    ORDER BY j.updated_at DESC LIMIT 20) AS f
  CROSS JOIN LATERAL (
    SELECT l.* FROM {LOGS_TABLE} AS l
    WHERE l.batched_background_migration_job_id = f.id AND l.exception_class IS NOT NULL
    ORDER BY l.created_at DESC LIMIT 1) AS n
  ORDER BY n.created_at DESC LIMIT 1) AS e
WHERE m.status NOT IN (3, 6)""",
)

VACUUM = Part(
    "vacuum",
    (),
    """
SELECT coalesce(jsonb_agg(DISTINCT c.relname), '[]'::jsonb)
FROM pg_stat_progress_vacuum AS v
JOIN pg_class AS c ON c.oid = v.relid
JOIN pg_stat_activity AS a ON a.pid = v.pid
WHERE v.datname = current_database() AND a.query LIKE 'autovacuum:%%'""",
)

# Who could be working on a job. null: this user may not see what others do. Between two sub-batches a session is idle.
WORKERS = Part(
    "workers",
    (TABLE,),
    f"""
SELECT CASE WHEN bool_or(a.query = '<insufficient privilege>') THEN 'null'::jsonb ELSE (
  SELECT coalesce(jsonb_agg(m.id), '[]'::jsonb) FROM {TABLE} AS m
  WHERE m.status NOT IN (3, 6) AND EXISTS (
    SELECT FROM pg_stat_activity AS b
    WHERE b.datname = current_database() AND b.pid <> pg_backend_pid() AND b.backend_type = 'client backend'
      AND position(regexp_replace(m.table_name, '^.*[.]', '') IN b.query) > 0
      AND (b.state <> 'idle' OR b.state_change > clock_timestamp() - interval '1 minute')))
END
FROM pg_stat_activity AS a WHERE a.datname = current_database()""",
)

# Feature.disable leaves the row and removes its gates; without a row the version's default holds.
FLAGS = Part(
    "flags",
    ("features", "feature_gates"),
    """
SELECT coalesce(jsonb_object_agg(f.key, (
  SELECT coalesce(jsonb_agg(jsonb_build_array(g.key, g.value)), '[]'::jsonb)
  FROM feature_gates AS g WHERE g.feature_key = f.key)), '{}'::jsonb)
FROM features AS f
WHERE f.key IN ('execute_batched_migrations_on_schedule', 'optimize_batched_migrations',
  'batched_migrations_parallel_execution', 'disallow_database_ddl_feature_flags')""",
)

# The column exists from 15.7 on, so that the row is asked for it; nothing else of it leaves the database.
MAX_RUNNING = Part(
    "max_running",
    ("application_settings",),
    """
SELECT coalesce((
  SELECT to_jsonb(s) -> 'database_max_running_batched_background_migrations'
  FROM application_settings AS s ORDER BY s.id DESC LIMIT 1), 'null'::jsonb)""",
)

# From class name to class name by index, and each counted by index: succeeded rows can be very many.
BACKGROUND = Part(
    "background",
    ("background_migration_jobs",),
    """
WITH RECURSIVE class AS (
  (SELECT b.class_name FROM background_migration_jobs AS b ORDER BY b.class_name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT b.class_name FROM background_migration_jobs AS b
    WHERE b.class_name > class.class_name ORDER BY b.class_name LIMIT 1)
  FROM class WHERE class.class_name IS NOT NULL)
SELECT coalesce(jsonb_object_agg(p.class_name, p.count) FILTER (WHERE p.count > 0), '{}'::jsonb)
FROM (
  SELECT class.class_name, (
    SELECT count(*) FROM background_migration_jobs AS b
    WHERE b.class_name = class.class_name AND b.status = 0) AS count
  FROM class WHERE class.class_name IS NOT NULL) AS p""",
)

# 18.5 to 18.9 marked migrations of tables with one row finished without running them; the migration 20260302103000
# of 18.10 looks for the same stamps and repairs them. On an empty table (no pages) no job is right.
UNPROVEN = Part(
    "unproven",
    (TABLE, JOBS_TABLE, "schema_migrations"),
    f"""
SELECT coalesce(jsonb_agg(m.id ORDER BY m.id), '[]'::jsonb)
FROM {TABLE} AS m
JOIN pg_class AS c ON c.oid = CASE
  WHEN m.table_name ~ '^[a-z_][a-z0-9_]*([.][a-z_][a-z0-9_]*)?$' THEN to_regclass(m.table_name) END
WHERE m.status IN (3, 6)
  AND to_jsonb(m) ->> 'queued_migration_version' BETWEEN '20250905091200' AND '20260216140430'
  AND (c.relkind = 'p' OR pg_relation_size(c.oid) > 0)
  AND (SELECT j.id FROM {JOBS_TABLE} AS j WHERE {_BY_ID.format("ASC")} LIMIT 1) IS NULL
  AND NOT EXISTS (SELECT FROM schema_migrations AS s WHERE s.version = '20260302103000')""",
)

# An upgrade that stopped half-way shows here even where all batched migrations are finished. The installed code's
# files come as one text; without any (a database asked from elsewhere) nothing can be said.
SCHEMA_DOWN = Part(
    "schema_down",
    ("schema_migrations",),
    """
SELECT CASE WHEN %(migration_files)s <> '' THEN coalesce(jsonb_agg(f.version ORDER BY f.version), '[]'::jsonb) ELSE 'null'::jsonb END
FROM unnest(string_to_array(trim(%(migration_files)s), ' ')) AS f (version)
WHERE NOT EXISTS (SELECT FROM schema_migrations AS s WHERE s.version = f.version)""",
)

PARTS = (
    GUARDS,
    SERVER,
    MIGRATIONS,
    JOBS,
    ERRORS,
    VACUUM,
    WORKERS,
    FLAGS,
    MAX_RUNNING,
    BACKGROUND,
    UNPROVEN,
    SCHEMA_DOWN,
)
