#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Print, for each database of a mini GitLab, how many batched background migrations are neither finished nor finalized.
set -eu
for database in $(gitlab-psql -At -P pager=off -d postgres -c "SELECT datname FROM pg_database WHERE datname LIKE 'gitlabhq%'"); do
  gitlab-psql -At -P pager=off -d "$database" -c "SELECT count(*) FROM batched_background_migrations WHERE status NOT IN (3, 6)"
done
