-- SPDX-License-Identifier: GPL-3.0-or-later
-- Queue migrations over tables of 2000 rows, 100 to a batch, of which some batches were made before, one each interval.
\set ON_ERROR_STOP 1

CREATE FUNCTION pg_temp.queue(class text, target text, key text, arguments jsonb, seconds integer, done integer, state integer = 1)
RETURNS void LANGUAGE sql AS $$
  WITH row AS (
    INSERT INTO batched_background_migrations (
      created_at, updated_at, started_at, min_value, max_value, batch_size, sub_batch_size, interval, status, job_class_name,
      table_name, column_name, job_arguments, total_tuple_count, pause_ms, gitlab_schema)
    VALUES (now(), now(), now(), 1, 2000, 100, 100, seconds, state, class, target, key, arguments, 2000, 1, 'gitlab_main')
    RETURNING id)
  INSERT INTO batched_background_migration_jobs (
    created_at, updated_at, started_at, finished_at, batched_background_migration_id, min_value, max_value, batch_size,
    sub_batch_size, status, attempts, pause_ms)
  SELECT at, at + interval '1 second', at, at + interval '1 second', row.id, 100 * n - 99, 100 * n, 100, 100, 3, 1, 1
  FROM row, generate_series(1, done) AS n, LATERAL (SELECT now() - (done - n) * seconds * interval '1 second' AS at) AS moment
$$;
