# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mini GitLab's packages on test hosts: real apt, real hooks, real services (root)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

MINI_GITLAB = Path(__file__).resolve().parents[2] / "mini_gitlab"
REPOSITORY = "/srv/gitlab-repo"
SOURCE_LIST = f"deb [trusted=yes] file:{REPOSITORY} ./"
RUNNING = r"run: {0}: \(pid \d+\) \d+s; run: log: \(pid \d+\) \d+s"
SERVICES = ("gitaly", "nginx", "postgresql", "puma", "redis", "sidekiq")
KEPT_FOR_MIGRATIONS = ("gitaly", "postgresql", "redis")


class Host:
    """One host of a fleet of its own."""

    def __init__(self, fleet: str) -> None:
        self._fleet = [str(MINI_GITLAB / "fleet.py"), "--fleet", fleet]

    def fleet(self, *arguments: str) -> None:
        subprocess.run([*self._fleet, *arguments], check=True, capture_output=True, text=True)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._fleet, "exec", "gitlab", "--", "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def install(self, version: str, environment: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(f"{environment} apt-get install -y gitlab-ee={version}-ee.0 2>&1")

    def installed(self) -> tuple[str, str]:
        """dpkg's state and version of the package: ``ii`` is well, ``iF`` is half-configured."""
        state, version = self("dpkg-query -W -f '${db:Status-Abbrev} ${Version}' gitlab-ee").split()
        return state, version

    def service(self, name: str) -> str:
        return self.run(f"gitlab-ctl status {name}").stdout.strip()

    def await_readiness(self) -> None:
        for _attempt in range(120):
            answer = self.run("curl -fsS http://127.0.0.1/-/readiness")
            if answer.returncode == 0:
                return
            time.sleep(0.5)
        pytest.fail(f"not ready: {answer.stderr}\n{self.run('gitlab-ctl status').stdout}")

    def sql(self, query: str, database: str = "gitlabhq_production") -> str:
        return self(f'gitlab-psql -d {database} -XAt -v ON_ERROR_STOP=1 -c "{query}"')


def build(*arguments: str) -> list[str]:
    done = subprocess.run([str(MINI_GITLAB / "build.py"), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subprocess.run([str(MINI_GITLAB / "fleet.py"), "base"], check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("repository")
    build("repo", str(folder))
    return folder


@pytest.fixture
def start(repository: Path) -> t.Iterator[t.Callable[..., Host]]:
    """Starts the host: from an image of build.py, or with nothing but the package source."""
    name = f"packages-{os.getpid()}"
    host = Host(name)

    def up(image: str | None = None) -> Host:
        chosen = ["--image", *build("image", image)] if image else []
        host.fleet("up", "gitlab", *chosen, "--bind", f"{repository}:{REPOSITORY}")
        if image is None:
            host(f"echo '{SOURCE_LIST}' > /etc/apt/sources.list.d/gitlab_gitlab-ee.list && apt-get update")
        elif "db-only" not in image:
            host.await_readiness()
        return host

    yield up
    host.fleet("down")


# Install and configure


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
    assert len(status) == len(SERVICES)
    assert all(re.fullmatch(RUNNING.format(name), line) for name, line in zip(SERVICES, status, strict=True))
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


def test_database_only_node_serves_others_and_has_no_rails(start):
    host = start("gitlab-17.11.7-db-only")
    assert [line.split(":")[1].strip() for line in host("gitlab-ctl status").splitlines()] == ["postgresql"]
    assert host("ss -Hltn | grep -c ':5432 '") == "1"
    assert "could not load /opt/gitlab/etc/gitlab-rails-rc" in host.run("gitlab-rake -T").stdout


# gitlab-ctl


def test_services_stop_start_and_survive_a_reboot(start):
    host = start("gitlab-14.0.12")
    assert re.fullmatch(r"ok: down: puma: \d+s, normally up", host("gitlab-ctl stop puma"))
    down = host.run("gitlab-ctl status")
    assert down.returncode == 3
    assert re.search(r"^down: puma: \d+s, normally up; run: log: \(pid \d+\) \d+s$", down.stdout, re.MULTILINE)
    assert host("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/-/readiness") == "502"
    assert re.fullmatch(r"ok: run: puma: \(pid \d+\) \d+s", host("gitlab-ctl start puma"))
    assert len(host("gitlab-ctl stop").splitlines()) == len(SERVICES)
    host.fleet("reboot", "gitlab")
    host.await_readiness()
    assert all(host.service(name).startswith("run: ") for name in SERVICES)


def test_a_service_that_does_not_stop_is_a_timeout(start):
    host = start("gitlab-14.0.12")
    stubborn = "#!/bin/sh\\ntrap : TERM\\nwhile :; do sleep 1; done\\n"
    host(f"printf '{stubborn}' > /opt/gitlab/sv/gitaly/run; gitlab-ctl restart gitaly")
    before = time.monotonic()
    called = host.run("gitlab-ctl stop gitaly")
    assert called.returncode == 1
    assert re.fullmatch(r"timeout: run: gitaly: \(pid \d+\) \d+s, (want down, )?got TERM", called.stdout.strip())
    assert 29 <= time.monotonic() - before <= 40


def test_hup_makes_puma_load_its_code_again(start):
    host = start("gitlab-14.0.12")
    pid = host("cat /opt/gitlab/service/puma/supervise/pid")
    host("curl -fsS http://127.0.0.1/-/health")
    marker = "/opt/gitlab/embedded/service/gitlab-rails/config.ru"
    host(f"echo \"File.write('/tmp/loaded', 'again')\" >> {marker}")
    assert host("gitlab-ctl hup puma") == ""
    host("for attempt in $(seq 100); do [ -e /tmp/loaded ] && exit 0; sleep 0.1; done; exit 1")
    assert host("cat /opt/gitlab/service/puma/supervise/pid") == pid


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("nonsense", 1, "I don't know that command."),
        ("", 1, "I don't know that command."),
        ("reconfigure now", 2, "The command reconfigure does not accept any arguments"),
        ("deploy-page sideways", 0, "Usage: deploy-page up|down|status"),
        ("restart-except redis", 1, "I don't know that command."),
        ("pg-upgrade", 0, "is already running, nothing to do"),
        ("upgrade-check 13.12.15 14.0.12", 0, ""),
        ("stop nosuchservice", 0, ""),
    ],
)
def test_command_line(start, arguments, code, text):
    host = start("gitlab-14.0.12")
    called = host.run(f"gitlab-ctl {arguments}")
    assert called.returncode == code
    assert text in called.stdout
    assert "Traceback" not in called.stderr


def test_restart_except(start):
    host = start("gitlab-17.11.7")
    kept = host("cat /opt/gitlab/service/postgresql/supervise/pid")
    lines = host("gitlab-ctl restart-except postgresql").splitlines()
    assert lines[0] == "Restarting all services except: postgresql."
    assert len(lines) == len(SERVICES)
    assert all(re.fullmatch(r"ok: run: \w+: \(pid \d+\) \d+s", line) for line in lines[1:])
    assert host("cat /opt/gitlab/service/postgresql/supervise/pid") == kept
    unknown = host.run("gitlab-ctl restart-except nosuchservice")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "Service 'nosuchservice' not found")
    nothing = host.run("gitlab-ctl restart-except")
    assert (nothing.returncode, nothing.stderr.strip()) == (1, "Please provide services to exclude from restart")


def test_deploy_page(start):
    host = start("gitlab-14.0.12")
    assert host("gitlab-ctl deploy-page status") == "Deploy page is down"
    host("gitlab-ctl deploy-page up")
    assert host("gitlab-ctl deploy-page status") == "Deploy page is up"
    assert "Deploy in progress" in host("curl -fsS http://127.0.0.1/some/where")
    host("gitlab-ctl deploy-page down")
    assert host("gitlab-ctl deploy-page status") == "Deploy page is down"
    assert "Deploy in progress" not in host("curl -s http://127.0.0.1/some/where")


def test_backup_of_the_configuration(start):
    host = start("gitlab-14.0.12")
    output = host("gitlab-ctl backup-etc 2>&1")
    assert output.startswith(
        "Could not find '/etc/gitlab/config_backup' directory. Creating.\nRunning configuration backup"
    )
    assert output.endswith("Keeping all older configuration backups")
    archive = re.search(
        r"archive complete: (/etc/gitlab/config_backup/gitlab_config_\d+_\d{4}_\d\d_\d\d\.tar)", output
    )[1]
    assert host(f"stat -c %a {archive} /etc/gitlab/config_backup").split() == ["600", "700"]
    names = host(f"tar tf {archive}")
    assert "gitlab-secrets.json" in names
    assert "config_backup" not in names
    host(
        f"touch {archive.replace('_', '_1', 1)}; mv {archive} /etc/gitlab/config_backup/gitlab_config_1000_1970_01_01.tar"
    )
    host("echo \"gitlab_rails['backup_keep_time'] = 60\" >> /etc/gitlab/gitlab.rb")
    assert "done. Removed 1 older configuration backups." in host("gitlab-ctl backup-etc")
    assert host("ls /etc/gitlab/config_backup | grep -c 1000_1970; true") == "0"


# Migrations in reconfigure


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


# Upgrades


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
    for name in SERVICES:
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
    assert all(host.service(name).startswith("run: ") for name in SERVICES)


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
    back = host.install("14.0.12")
    assert back.returncode == 0, back.stdout
    assert "gitlab preinstall" not in back.stdout, "for the hooks it is a fresh install: no check, no backup"
    assert host("cat /opt/gitlab/embedded/service/gitlab-rails/VERSION") == "14.0.12-ee"
