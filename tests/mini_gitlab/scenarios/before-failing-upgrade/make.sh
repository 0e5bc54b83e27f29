#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GitLab 14.0 with five projects, all they keep on disk, and three background migrations that have hours to go: an upgrade to 14.2 will fail.
set -eu

gitlab-ctl stop sidekiq
gitlab-rake 'mini_gitlab:seed_data[5]'
gitlab-psql -X -q -v ON_ERROR_STOP=1 < data.sql
gitlab-rake db:migrate
# Forty batches, one each two minutes.
gitlab-psql -X -q -v ON_ERROR_STOP=1 -c 'UPDATE batched_background_migrations SET batch_size = 500, sub_batch_size = 100'
gitlab-ctl start sidekiq

left=$(gitlab-psql -XAt -c "SELECT count(*) FROM batched_background_migrations WHERE status = 1")
[ "$left" = 3 ] || { echo "expected three unfinished background migrations, found $left" >&2; exit 1; }
