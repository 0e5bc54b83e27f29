-- Copyright (c) 2026, The gitlab_fleet.upgrade authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Rows from before the bigint columns existed: no trigger has filled those, so the background migrations have real work.
SET session_replication_role = replica;

INSERT INTO namespaces (name, path) SELECT 'group ' || n, 'group-' || n FROM generate_series(1, 500) n;
INSERT INTO projects (name, path, namespace_id) SELECT 'project ' || n, 'project-' || n, 1 + n % 500 FROM generate_series(1, 3000) n;
INSERT INTO users (username, email) SELECT 'user' || n, 'user' || n || '@example.com' FROM generate_series(1, 2000) n;
INSERT INTO push_event_payloads (event_id, commit_count, ref) SELECT n, 1 + n % 9, 'main' FROM generate_series(1, 240000) n;
INSERT INTO ci_stages (project_id, pipeline_id, name) SELECT 1 + n % 3000, n, 'test' FROM generate_series(1, 45000) n;
INSERT INTO ci_builds (project_id, stage_id, name, status) SELECT 1 + n % 3000, 1 + n % 45000, 'job ' || n, 'success' FROM generate_series(1, 90000) n;
INSERT INTO ci_builds_metadata (build_id, project_id, timeout) SELECT n, 1 + n % 3000, 3600 FROM generate_series(1, 90000) n;
INSERT INTO deployments (project_id, deployable_id, deployable_type, ref)
  SELECT 1 + n % 3000, n, 'CommitStatus', 'main' FROM generate_series(1, 30000) n;
INSERT INTO taggings (tag_id, taggable_id, taggable_type, context)
  SELECT 1 + n % 200, 1 + n % 3000, 'Project', 'topics' FROM generate_series(1, 25000) n;

-- The events came later, through the triggers, and theirs has been done long ago.
SET session_replication_role = origin;
INSERT INTO events (project_id, author_id, action) SELECT 1 + n % 3000, 1 + n % 2000, 5 FROM generate_series(1, 240000) n;
ANALYZE;

-- The post-deployment migrations that queue the six run again, now that there are rows: an upgrade from an older version does the same.
DELETE FROM schema_migrations WHERE version IN (
  '20210316152500', '20210406140220', '20210421022010', '20210519154612', '20210520012910', '20210601080039'
);
