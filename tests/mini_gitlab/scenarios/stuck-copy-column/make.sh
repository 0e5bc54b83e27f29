#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GitLab 14.0 with data goes to 14.2 before its background migrations are done. The package's hook stops at the first of six.
set -eu

gitlab-ctl stop sidekiq
gitlab-psql -X -q -v ON_ERROR_STOP=1 < data.sql
gitlab-rake db:migrate
queued=$(gitlab-psql -XAt -c "SELECT count(*) FROM batched_background_migrations WHERE status = 1")
[ "$queued" = 6 ] || { echo "expected six queued background migrations, found $queued" >&2; exit 1; }
gitlab-ctl start sidekiq

code=0
apt-get install -y gitlab-ee=14.2.7-ee.0 > upgrade.log 2>&1 || code=$?
cat upgrade.log
[ "$code" = 100 ] || { echo "the upgrade was expected to fail with 100, it ended with $code" >&2; exit 1; }
grep -q "Expected batched background migration .* but it is 'active'" upgrade.log
