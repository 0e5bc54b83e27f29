-- Copyright (c) 2026, The gitlab_fleet.upgrade authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

INSERT INTO ci_pipeline_messages (pipeline_id, content)
  SELECT n, CASE WHEN n BETWEEN 2100 AND 2110 OR n BETWEEN 6400 AND 6405 THEN repeat('message ', 60) ELSE 'message ' || n END
  FROM generate_series(1, 9000) n;
INSERT INTO ci_stages (project_id, pipeline_id, name) SELECT 1 + n % 300, n, 'test' FROM generate_series(1, 9000) n;
ALTER TABLE ci_pipeline_messages ADD CONSTRAINT check_message_length CHECK (length(content) <= 200) NOT VALID;
ANALYZE;

-- The post-deployment migration that queues the background migration runs again, now that there are rows.
DELETE FROM schema_migrations WHERE version = '20241104154512';
