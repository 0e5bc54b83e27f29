#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GitLab 14.0 with data goes to 14.2 in the no-downtime way and serves. The post-deployment migrations stop at the first background migration
# that is not finished; Sidekiq is working on them. The cron of the test bed's worker runs each second instead of each minute.
set -eu

gitlab-ctl stop sidekiq
gitlab-psql -X -q -v ON_ERROR_STOP=1 < data.sql
gitlab-rake db:migrate
gitlab-psql -X -q -v ON_ERROR_STOP=1 -c 'UPDATE batched_background_migrations SET interval = 1'
echo "gitlab_rails['env'] = { 'MINI_GITLAB_CRON_SECONDS' => '1' }" >> /etc/gitlab/gitlab.rb

touch /etc/gitlab/skip-auto-reconfigure
apt-get install -y gitlab-ee=14.2.7-ee.0
SKIP_POST_DEPLOYMENT_MIGRATIONS=true gitlab-ctl reconfigure
gitlab-ctl restart puma
rm /etc/gitlab/skip-auto-reconfigure

code=0
gitlab-rake db:migrate > upgrade.log 2>&1 || code=$?
cat upgrade.log
[ "$code" = 1 ] || { echo "db:migrate was expected to fail, it ended with $code" >&2; exit 1; }
grep -q "Expected batched background migration .* but it is 'active'" upgrade.log
left=$(gitlab-psql -XAt -c "SELECT count(*) FROM batched_background_migrations WHERE status = 1")
[ "$left" = 3 ] || { echo "expected three unfinished background migrations, found $left" >&2; exit 1; }
