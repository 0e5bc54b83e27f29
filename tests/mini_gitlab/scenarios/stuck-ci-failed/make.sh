#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GitLab 17.8 with two databases goes to 17.11 without downtime. Before the post-deployment migrations ran, a background migration in ci
# failed for good: a check on the messages' length met old messages that are longer. Those have been shortened since; nobody has retried.
set -eu

ci() {
  gitlab-psql -d gitlabhq_production_ci -X -v ON_ERROR_STOP=1 "$@"
}

gitlab-ctl stop sidekiq
ci -q < data.sql
gitlab-psql -X -q -c "DELETE FROM schema_migrations WHERE version = '20241104154512'"
gitlab-rake db:migrate
SKIP_POST_DEPLOYMENT_MIGRATIONS=true apt-get install -y gitlab-ee=17.11.7-ee.0

gitlab-ctl stop sidekiq
gitlab-rails runner "$(cat work_until_failed.rb)"
ci -q -c 'UPDATE ci_pipeline_messages SET content = left(content, 200) WHERE length(content) > 200'
gitlab-ctl start sidekiq

state=$(ci -At -c "SELECT status FROM batched_background_migrations WHERE job_class_name = 'BackfillPartitionIdCiPipelineMessage'")
[ "$state" = 4 ] || { echo "expected the background migration to be failed (4), it is $state" >&2; exit 1; }
exhausted=$(ci -At -c 'SELECT count(*) FROM batched_background_migration_jobs WHERE status = 2 AND attempts >= 3')
[ "$exhausted" -ge 1 ] || { echo 'expected jobs without attempts left, found none' >&2; exit 1; }
ci -At -c "SELECT exception_class FROM batched_background_migration_job_transition_logs WHERE next_status = 2" | grep -q ActiveRecord::StatementInvalid
gitlab-rake db:migrate:status:ci | grep -E '^ *down +20250210160129'
