#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A 14.2 is rolled back to 14.0, the old database is restored by hand over the new one, and the next upgrade goes to 14.3.
# The tables that 14.1 and 14.2 brought are still there; the restored schema_migrations does not know them.
set -eu

gitlab-psql -X -q -v ON_ERROR_STOP=1 < data.sql
chpst -u gitlab-psql /opt/gitlab/embedded/bin/pg_dump -h /var/opt/gitlab/postgresql --clean --if-exists gitlabhq_production > /var/opt/gitlab/before.sql

apt-get install -y gitlab-ee=14.2.7-ee.0

gitlab-ctl stop puma
gitlab-ctl stop sidekiq
dpkg -r gitlab-ee
apt-get install -y gitlab-ee=14.0.12-ee.0
gitlab-ctl stop puma
gitlab-ctl stop sidekiq
gitlab-psql -X -q < /var/opt/gitlab/before.sql
gitlab-ctl start

code=0
apt-get install -y gitlab-ee=14.3.6-ee.0 > upgrade.log 2>&1 || code=$?
cat upgrade.log
[ "$code" = 100 ] || { echo "the upgrade was expected to fail with 100, it ended with $code" >&2; exit 1; }
grep -q 'PG::DuplicateTable: ERROR:  relation "incident_management_pending_alert_escalations" already exists' upgrade.log
