# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of gitlab-ctl on real services (root)."""

from __future__ import annotations

import re
import time

import pytest


def test_services_stop_start_and_survive_a_reboot(start):
    host = start("gitlab-14.0.12")
    assert re.fullmatch(r"ok: down: puma: \d+s, normally up", host("gitlab-ctl stop puma"))
    down = host.run("gitlab-ctl status")
    assert down.returncode == 3
    assert re.search(r"^down: puma: \d+s, normally up; run: log: \(pid \d+\) \d+s$", down.stdout, re.MULTILINE)
    assert host("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/-/readiness") == "502"
    assert re.fullmatch(r"ok: run: puma: \(pid \d+\) \d+s", host("gitlab-ctl start puma"))
    assert len(host("gitlab-ctl stop").splitlines()) == len(host.services)
    host.fleet("reboot", "gitlab")
    host.await_readiness()
    assert all(host.service(name).startswith("run: ") for name in host.services)


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
    assert len(lines) == len(host.services)
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
        f"touch {archive.replace('_', '_1', 1)}; mv {archive} /etc/gitlab/config_backup/gitlab_config_1000000000_2001_09_09.tar"
    )
    host("echo \"gitlab_rails['backup_keep_time'] = 60\" >> /etc/gitlab/gitlab.rb")
    assert "done. Removed 1 older configuration backups." in host("gitlab-ctl backup-etc")
    assert host("ls /etc/gitlab/config_backup | grep -c 1000_1970; true") == "0"
