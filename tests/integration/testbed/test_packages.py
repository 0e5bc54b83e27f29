# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages on test hosts: installed, upgraded and refused by real apt and real hooks (root)."""

from __future__ import annotations

import json
import re

import pytest

RUNNING = r"run: {0}: \(pid \d+\) \d+s; run: log: \(pid \d+\) \d+s"
KEPT_FOR_MIGRATIONS = ("gitaly", "postgresql", "redis")


def test_fresh_install_is_not_configured_yet(start):
    host = start()
    installed = host.install("14.0.12")
    assert installed.returncode == 0
    assert "It looks like GitLab has not been configured yet; skipping the upgrade script." in installed.stdout
    assert "Thank you for installing GitLab!" in installed.stdout
    assert host.installed() == ("ii", "14.0.12-ee.0")
    assert host("head -n 1 /opt/gitlab/version-manifest.txt") == "gitlab-ee 14.0.12"
    assert host("cat /opt/gitlab/embedded/service/gitlab-rails/VERSION") == "14.0.12-ee"
    assert host("stat -c %a /etc/gitlab/gitlab.rb") == "600"


@pytest.mark.parametrize(
    ("command", "rc"), [("gitlab-rake", "rails"), ("gitlab-rails", "rails"), ("gitlab-psql", "psql")]
)
def test_wrappers_say_on_stdout_that_nothing_is_configured(start, command, rc):
    host = start()
    host.install("14.0.12")
    called = host.run(f"{command} anything")
    assert called.returncode == 1
    assert called.stderr == ""
    assert called.stdout.splitlines() == [
        f"/usr/bin/{command} error: could not load /opt/gitlab/etc/gitlab-{rc}-rc",
        "Either you are not allowed to read the file, or it does not exist yet.",
        "You can generate it with:   sudo gitlab-ctl reconfigure",
    ]


def test_reconfigure_makes_a_working_instance(start):
    host = start()
    host.install("17.11.7")
    output = host("gitlab-ctl reconfigure")
    assert output.endswith("gitlab Reconfigured!")
    assert re.search(r"^Infra Phase complete, \d+/\d+ resources updated in \d+ seconds$", output, re.MULTILINE)
    host.await_readiness()
    status = host("gitlab-ctl status").splitlines()
    assert len(status) == len(host.services)
    assert all(re.fullmatch(RUNNING.format(name), line) for name, line in zip(host.services, status, strict=True))
    assert host("stat -c '%a %U %G' /var/opt/gitlab/gitlab-rails/etc/database.yml") == "640 root git"
    assert host.sql("SELECT session_user, usesuper FROM pg_user WHERE usename = session_user") == "gitlab-psql|t"
    assert host.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'schema_migrations'") == "gitlab"
    assert host("gitlab-rails runner 'puts Process.uid == Etc.getpwnam(%q(git)).uid, Dir.pwd'") == (
        "true\n/opt/gitlab/embedded/service/gitlab-rails"
    )
    assert len(host("cat /opt/gitlab/embedded/service/gitlab-rails/REVISION")) == 11
    assert host("gitlab-rake db:migrate:status | grep -c ' down '; true") == "0"


def test_external_url_of_a_fresh_install_reconfigures_at_once(start):
    host = start()
    installed = host.install("14.0.12", "EXTERNAL_URL=http://fresh.example.com")
    assert installed.returncode == 0
    assert "gitlab Reconfigured!" in installed.stdout
    assert host("grep ^external_url /etc/gitlab/gitlab.rb") == "external_url 'http://fresh.example.com'"
    host.await_readiness()


def test_reconfigure_is_for_root(start):
    host = start("gitlab-14.0.12")
    called = host.run("chpst -u nobody /opt/gitlab/bin/gitlab-ctl reconfigure")
    assert called.returncode == 1
    assert called.stderr.strip() == "This command must be executed as root user"


def test_a_gitlab_rb_that_is_no_ruby_changes_nothing(start):
    host = start("gitlab-14.0.12")
    before = host("md5sum /var/opt/gitlab/gitlab-rails/etc/database.yml")
    host("echo 'puma[' >> /etc/gitlab/gitlab.rb")
    called = host.run("gitlab-ctl reconfigure")
    assert called.returncode == 1
    assert "SyntaxError" in called.stdout
    assert "Traceback" not in called.stdout + called.stderr
    assert host("md5sum /var/opt/gitlab/gitlab-rails/etc/database.yml") == before


def test_two_databases(start):
    host = start("gitlab-17.11.7-two-databases")
    assert host.sql("SELECT count(*) > 0 FROM schema_migrations", "gitlabhq_production_ci") == "t"
    names = host.sql("SELECT datname FROM pg_database WHERE datname LIKE 'gitlabhq%' ORDER BY 1").split()
    assert names == ["gitlabhq_production", "gitlabhq_production_ci"]
    assert "database: gitlabhq_production_ci" in host("gitlab-rake db:migrate:status:ci")


def test_rails_node_without_its_own_database(start):
    host = start("gitlab-17.11.7")
    host("printf \"postgresql['enable'] = false\\ngitlab_rails['auto_migrate'] = false\\n\" >> /etc/gitlab/gitlab.rb")
    host("gitlab-ctl reconfigure")
    assert host.run("gitlab-ctl status postgresql").stdout.strip() == "postgresql disabled"
    called = host.run("gitlab-psql -c 'SELECT 1'")
    assert called.returncode == 2
    assert 'socket "/var/opt/gitlab/postgresql/.s.PGSQL.5432" failed: No such file or directory' in called.stderr


def test_database_only_node_serves_others_and_has_no_rails(start):
    host = start("gitlab-17.11.7-db-only")
    assert [line.split(":")[1].strip() for line in host("gitlab-ctl status").splitlines()] == ["postgresql"]
    assert host("ss -Hltn | grep -c ':5432 '") == "1"
    assert "could not load /opt/gitlab/etc/gitlab-rails-rc" in host.run("gitlab-rake -T").stdout


def test_upgrade_runs_the_hooks_and_starts_what_ran_before(start):
    host = start("gitlab-14.0.12")
    host("gitlab-ctl stop sidekiq")
    upgraded = host.install("14.2.7")
    assert upgraded.returncode == 0, upgraded.stdout
    assert host.installed() == ("ii", "14.2.7-ee.0")
    wanted = [
        "gitlab preinstall: Checking for unmigrated data on legacy storage",
        "gitlab preinstall: Automatically backing up only the GitLab SQL database (excluding everything else!)",
        "gitlab preinstall: Automatically backing up /etc/gitlab",
        "Shutting down all GitLab services except those needed for migrations",
        "Ensuring the required services are running",
        "Reconfigure GitLab to apply migrations",
        "gitlab Reconfigured!",
        "Restarting previously running GitLab services",
        "Upgrade complete! If your GitLab server is misbehaving try running",
        "If you need to roll back to the previous version you can use the database",
    ]
    positions = [upgraded.stdout.find(text) for text in wanted]
    assert -1 not in positions
    assert positions == sorted(positions)
    host.await_readiness()
    assert host.service("sidekiq").startswith("down: ")
    assert host("cat /var/opt/gitlab/gitlab-rails/VERSION") == "14.2.7-ee"


def test_upgrade_before_the_background_migrations_are_done_fails_and_leaves_services_down(start):
    host = start("gitlab-14.0.12")
    host("gitlab-ctl stop sidekiq")
    host.sql("INSERT INTO push_event_payloads (event_id) SELECT n FROM generate_series(1, 50) n")
    host.sql("DELETE FROM schema_migrations WHERE version = '20210316152500'")
    host("gitlab-rake db:migrate")
    host("gitlab-ctl start sidekiq")
    host.sql("UPDATE batched_background_migrations SET status = 0")

    failed = host.install("14.2.7")
    assert failed.returncode == 100
    assert "but it is 'paused':\t{:job_class_name=>\"CopyColumnUsingBackgroundMigrationJob\"" in failed.stdout
    assert "There was an error running gitlab-ctl reconfigure. Please check the output above for more" in failed.stdout
    assert (
        "installed gitlab-ee package post-installation script subprocess returned error exit status 1" in failed.stdout
    )
    assert host.installed() == ("iF", "14.2.7-ee.0")
    for name in host.services:
        assert host.service(name).startswith("run: " if name in KEPT_FOR_MIGRATIONS else "down: "), name

    host.sql("UPDATE batched_background_migrations SET status = 1")
    host(
        "gitlab-rake 'gitlab:background_migrations:finalize[CopyColumnUsingBackgroundMigrationJob,push_event_payloads,event_id,"
        '[["event_id"]\\, ["event_id_convert_to_bigint"]]]\''
    )
    assert host.sql("SELECT status FROM batched_background_migrations") == "3"
    again = host.run("dpkg --configure -a 2>&1")
    assert again.returncode == 0, again.stdout
    assert host.installed() == ("ii", "14.2.7-ee.0")
    assert host.service("puma").startswith("down: "), "only what ran before this run is started again"


def test_hook_refuses_to_leave_a_version_out(start):
    host = start("gitlab-14.0.12")
    refused = host.install("15.0.5")
    assert refused.returncode == 100
    lines = [line for line in refused.stdout.splitlines() if line.startswith("gitlab preinstall:")]
    assert lines == [
        "gitlab preinstall: It seems you are upgrading from major version 14 to major version 15.",
        "gitlab preinstall: It is required to upgrade to the latest 14.10.x version first before proceeding.",
        "gitlab preinstall: Please follow the upgrade documentation at https://docs.gitlab.com/ee/update/index.html#upgrade-paths",
    ]
    assert host.installed() == ("ii", "14.0.12-ee.0")
    assert all(host.service(name).startswith("run: ") for name in host.services)


def test_hook_refuses_every_jump_from_16_4(start):
    host = start("gitlab-16.3.9")
    refused = host.install("17.8.7")
    assert refused.returncode == 100
    lines = [line for line in refused.stdout.splitlines() if line.startswith("gitlab preinstall:")]
    assert lines == [
        "gitlab preinstall: It seems you are upgrading from 16.3 to 17.8.",
        "gitlab preinstall: It is required to upgrade to the latest 17.5.x version first before proceeding.",
        "gitlab preinstall: Please follow the upgrade documentation at "
        "https://docs.gitlab.com/ee/update/#upgrading-to-a-new-major-version",
    ]


def test_hook_lets_a_documented_stop_be_left_out_inside_a_major(start):
    """The package is weaker than the documented path: 14.3 and 14.9 are stops."""
    host = start("gitlab-14.0.12")
    assert host.install("14.10.5").returncode == 0
    assert host.installed() == ("ii", "14.10.5-ee.0")


def test_removed_setting_stops_the_upgrade(start):
    host = start("gitlab-14.2.7")
    host("echo \"gitlab_pages['use_legacy_storage'] = true\" >> /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure")
    refused = host.install("14.3.6")
    assert refused.returncode == 100
    assert "* gitlab_pages['use_legacy_storage'] was removed in 14.3." in refused.stdout
    assert "Deprecations found. Please correct them and try again." in refused.stdout
    assert host.installed() == ("ii", "14.2.7-ee.0")


def test_aborted_first_reconfigure_stops_the_upgrade(start):
    host = start()
    host.install("14.0.12")
    assert host.run("MINI_GITLAB_MIGRATE_TIMEOUT=0.1 gitlab-ctl reconfigure").returncode == 1
    assert "normal" not in json.loads(host("cat /opt/gitlab/embedded/nodes/*.json"))
    refused = host.install("14.2.7")
    assert refused.returncode == 100
    assert "Malformed configuration JSON file found at /opt/gitlab/embedded/nodes/gitlab.json." in refused.stdout


def test_skip_auto_reconfigure_installs_files_and_nothing_else(start):
    host = start("gitlab-14.0.12")
    host("touch /etc/gitlab/skip-auto-reconfigure")
    applied = host.sql("SELECT count(*) FROM schema_migrations")
    upgraded = host.install("14.2.7")
    assert upgraded.returncode == 0
    assert "Found /etc/gitlab/skip-auto-reconfigure, exiting..." in upgraded.stdout
    assert "Upgrade complete!" in upgraded.stdout, "the banner comes although nothing was migrated"
    assert "Automatically backing up" not in upgraded.stdout
    assert host.sql("SELECT count(*) FROM schema_migrations") == applied
    assert host("cat /var/opt/gitlab/gitlab-rails/VERSION") == "14.0.12-ee"


def test_skip_auto_backup(start):
    host = start("gitlab-14.0.12")
    host("touch /etc/gitlab/skip-auto-backup")
    upgraded = host.install("14.2.7")
    assert "Automatically backing up" not in upgraded.stdout
    assert "The automatic database backup was skipped as requested." in upgraded.stdout
    assert host("ls -d /etc/gitlab/config_backup 2>/dev/null; true") == ""


PG_DUMP = "/opt/gitlab/embedded/bin/pg_dump"


def test_automatic_backup_that_fails_stops_the_upgrade(start):
    host = start("gitlab-17.11.7")
    host(f"ln -sf /bin/false {PG_DUMP}")
    refused = host.install("18.2.8")
    assert refused.returncode == 100
    lines = [line for line in refused.stdout.splitlines() if line.startswith("gitlab preinstall:")]
    assert lines == [
        "gitlab preinstall: Automatically backing up only the GitLab SQL database (excluding everything else!)",
        "gitlab preinstall: ",
        "gitlab preinstall: Database backup failed! If you want to skip this backup, run the following command and try again:",
        "gitlab preinstall: ",
        "gitlab preinstall:  sudo touch /etc/gitlab/skip-auto-backup",
        "gitlab preinstall: ",
    ]
    assert host.installed() == ("ii", "17.11.7-ee.0")


def test_old_version_does_not_notice_that_its_automatic_backup_failed(start):
    host = start("gitlab-14.0.12")
    host(f"ln -sf /bin/false {PG_DUMP}")
    upgraded = host.install("14.2.7")
    assert upgraded.returncode == 0
    assert "Dumping PostgreSQL database gitlabhq_production ... [FAILED]" in upgraded.stdout
    assert "backup made during the upgrade (scroll up for the filename)." in upgraded.stdout


def test_downgrade_in_place_runs_the_old_package_as_an_upgrade(start):
    host = start("gitlab-14.2.7")
    back = host.run("apt-get install -y --allow-downgrades gitlab-ee=14.0.12-ee.0 2>&1")
    assert back.returncode == 0, back.stdout
    assert host.installed() == ("ii", "14.0.12-ee.0")
    assert "gitlab preinstall: Automatically backing up only the GitLab SQL database" in back.stdout
    assert host("ls /var/opt/gitlab/backups").endswith("_14.2.7-ee_gitlab_backup.tar")
    assert "gitlab Reconfigured!" in back.stdout


def test_external_url_in_the_environment_rewrites_gitlab_rb(start):
    host = start("gitlab-14.0.12")
    assert host("grep ^external_url /etc/gitlab/gitlab.rb") == "external_url 'http://gitlab.example.com'"
    assert host.install("14.2.7", "EXTERNAL_URL=http://leaked.example.com").returncode == 0
    assert host("grep ^external_url /etc/gitlab/gitlab.rb") == "external_url 'http://leaked.example.com'"


def test_rollback_by_removing_and_installing_the_old_package(start):
    host = start("gitlab-14.0.12")
    host.install("14.2.7")
    host("gitlab-ctl stop puma; gitlab-ctl stop sidekiq; dpkg -r gitlab-ee")
    assert host.run("command -v gitlab-ctl gitlab-rake").returncode != 0
    assert host("ls -d /var/opt/gitlab/postgresql/data /etc/gitlab/gitlab.rb | wc -l") == "2"
    assert "pid" in host("sv status /opt/gitlab/service/postgresql"), "what ran goes on"
    back = host.install("14.0.12")
    assert back.returncode == 0, back.stdout
    assert "gitlab preinstall" not in back.stdout, "for the hooks it is a fresh install: no check, no backup"
    assert host("cat /opt/gitlab/embedded/service/gitlab-rails/VERSION") == "14.0.12-ee"
