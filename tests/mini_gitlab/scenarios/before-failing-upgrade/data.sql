-- Copyright (c) 2026, The gitlab_fleet.upgrade authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Rows from before the bigint columns existed: no trigger has filled those, so the background migrations have real work.
SET session_replication_role = replica;

INSERT INTO users (username, email) SELECT 'user' || n, 'user' || n || '@example.com' FROM generate_series(1, 200) n;
INSERT INTO push_event_payloads (event_id, commit_count, ref) SELECT n, 1 + n % 9, 'main' FROM generate_series(1, 20000) n;
INSERT INTO ci_stages (project_id, pipeline_id, name) SELECT 1 + n % 5, n, 'test' FROM generate_series(1, 4000) n;
INSERT INTO deployments (project_id, deployable_id, deployable_type, ref)
  SELECT 1 + n % 5, n, 'CommitStatus', 'main' FROM generate_series(1, 2000) n;
ANALYZE;

-- The post-deployment migrations that queue them run again, now that there are rows: an upgrade from an older version does the same.
DELETE FROM schema_migrations WHERE version IN (
  '20210316152500', '20210406140220', '20210421022010', '20210519154612', '20210520012910', '20210601080039'
);
