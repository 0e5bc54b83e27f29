# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When reconfigure migrates, and how it fails (root)."""

from __future__ import annotations

import pytest


def test_status_file_decides_whether_reconfigure_migrates(start):
    host = start("gitlab-14.0.12")
    revision = host("cat /opt/gitlab/embedded/service/gitlab-rails/REVISION")
    status = host(f"ls /var/opt/gitlab/gitlab-rails/upgrade-status/db-migrate-*-{revision}")
    pending = "DELETE FROM schema_migrations WHERE version = '20210601080039'"
    up = "SELECT count(*) FROM schema_migrations WHERE version = '20210601080039'"
    assert host(f"cat {status}") == "0"

    host.sql(pending)
    host("gitlab-ctl reconfigure")
    assert host.sql(up) == "0", "a status of 0 means no migration, whatever the database says"

    host(f"echo 1 > {status}")
    assert "migrate gitlab-rails database" in host("gitlab-ctl reconfigure")
    assert host.sql(up) == "1"

    host.sql(pending)
    host(f"rm {status}")
    pid = host("cat /opt/gitlab/service/puma/supervise/pid")
    host("gitlab-ctl reconfigure")
    assert (host.sql(up), host(f"cat {status}")) == ("1", "0")
    assert host("cat /opt/gitlab/service/puma/supervise/pid") != pid, "a migration run restarts Puma"


def test_without_auto_migrate_nothing_migrates(start):
    host = start("gitlab-14.0.12")
    host.sql("DELETE FROM schema_migrations WHERE version = '20210601080039'")
    host("rm /var/opt/gitlab/gitlab-rails/upgrade-status/*")
    host("echo \"gitlab_rails['auto_migrate'] = false\" >> /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure")
    assert host.sql("SELECT count(*) FROM schema_migrations WHERE version = '20210601080039'") == "0"
    assert host("ls /var/opt/gitlab/gitlab-rails/upgrade-status") == ""


def test_migrations_have_a_time_limit(start):
    host = start("gitlab-14.0.12")
    host("rm /var/opt/gitlab/gitlab-rails/upgrade-status/*")
    called = host.run("MINI_GITLAB_MIGRATE_TIMEOUT=0.2 gitlab-ctl reconfigure")
    assert called.returncode == 1
    assert "Mixlib::ShellOut::CommandTimeout" in called.stdout
    assert "Command timed out after 0s:" in called.stdout
    assert host("ls /var/opt/gitlab/gitlab-rails/upgrade-status") == ""
    assert host("pgrep -fc '[g]itlab:db:configure'; true") == "0"


@pytest.mark.parametrize(
    ("image", "hidden"), [("gitlab-14.0.12", False), ("gitlab-15.4.6", True), ("gitlab-17.11.7", False)]
)
def test_failed_migration_block(start, image, hidden):
    host = start(image)
    host.sql("DELETE FROM schema_migrations WHERE version = '20151103134857'")
    host("rm /var/opt/gitlab/gitlab-rails/upgrade-status/*")
    called = host.run("gitlab-ctl reconfigure")
    assert called.returncode == 1
    assert "Error executing action `run` on resource 'rails_migration[gitlab-rails]'" in called.stdout
    duplicate = 'PG::DuplicateTable: ERROR:  relation "lfs_objects" already exists'
    assert (duplicate in called.stdout) is not hidden
    assert ("Command execution failed. STDOUT/STDERR suppressed for sensitive resource" in called.stdout) is hidden
    log = host("ls -t /var/log/gitlab/gitlab-rails/gitlab-rails-db-migrate-*.log | head -n 1")
    assert duplicate in host(f"cat {log}")
    assert host(f"stat -c '%U %a' {log}") == "git 600"
    assert host("cat /var/opt/gitlab/gitlab-rails/upgrade-status/*") == "1"
