-- Copyright (c) 2026, The gitlab_fleet.upgrade authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

INSERT INTO namespaces (name, path) SELECT 'group ' || n, 'group-' || n FROM generate_series(1, 200) n;
INSERT INTO projects (name, path, namespace_id) SELECT 'project ' || n, 'project-' || n, 1 + n % 200 FROM generate_series(1, 1000) n;
INSERT INTO users (username, email) SELECT 'user' || n, 'user' || n || '@example.com' FROM generate_series(1, 500) n;
INSERT INTO events (project_id, author_id, action) SELECT 1 + n % 1000, 1 + n % 500, 5 FROM generate_series(1, 20000) n;
INSERT INTO push_event_payloads (event_id, commit_count, ref) SELECT n, 1, 'main' FROM generate_series(1, 20000) n;
ANALYZE;
