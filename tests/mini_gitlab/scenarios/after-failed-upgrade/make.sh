#!/bin/bash
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A backup of everything, one more project, then the upgrade to 14.2 before the background migrations are done. The newest archive is
# the database-only one that the package made by itself.
set -eu

gitlab-backup create
gitlab-ctl backup-etc
gitlab-rake 'mini_gitlab:seed_data[1]'

code=0
apt-get install -y gitlab-ee=14.2.7-ee.0 > upgrade.log 2>&1 || code=$?
cat upgrade.log
[ "$code" = 100 ] || { echo "the upgrade was expected to fail with 100, it ended with $code" >&2; exit 1; }
grep -q "Expected batched background migration .* but it is 'active'" upgrade.log
[ "$(ls /var/opt/gitlab/backups | wc -l)" = 2 ] || { echo 'expected two archives' >&2; exit 1; }
