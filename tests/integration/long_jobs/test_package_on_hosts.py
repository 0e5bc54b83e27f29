# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gitlab_package on hosts where a real dpkg left the mini GitLab's package half-configured."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from instances import MINI_GITLAB, Instances

HALF, WHOLE = "half-configured", "installed"
COMMAND = ["env", "--unset=EXTERNAL_URL", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "gitlab-ee"]
LEAKED = "http://leaked.example.com"
# Holds dpkg's lock as apt does, for as long as the file is there.
HOLD_LOCK = """
touch /root/locked
setsid python3 - >/dev/null 2>&1 <<'PYTHON' &
import fcntl, pathlib, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/root/held").touch()
while pathlib.Path("/root/locked").exists():
    time.sleep(0.2)
PYTHON
until [ -e /root/held ]; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    """Two hosts as the failed upgrade left them, one of which is to be mended, and one without GitLab."""
    made = subprocess.run(
        [MINI_GITLAB / "build.py", "scenario", "stuck-copy-column"], stdout=subprocess.PIPE, text=True, check=True
    )
    with Instances.fleet("package") as instances:
        instances.call("up", "stuck", "mended", "--image", made.stdout.strip())
        instances.call("up", "plain")
        # Writes the inventory.
        instances.up({})
        for host in ("stuck", "mended"):
            instances.call("push", host, str(MINI_GITLAB / "fingerprint.py"), "/root/fingerprint.py")
            instances.sh(host, "for n in $(seq 60); do gitlab-psql -c 'SELECT 1' && break; sleep 1; done")
            # Booted again it would go on with the background migrations.
            instances.sh(host, "gitlab-ctl stop sidekiq; gitlab-ctl stop puma")
        yield instances


def package(fleet: Instances, host: str, *, check: bool = False) -> dict[str, t.Any]:
    return fleet.run(host, "gitlab_package", check=check, state="configured", poll_interval=1)


def package_with_leak(fleet: Instances, host: str, directory: Path) -> dict[str, t.Any]:
    """Run the module with EXTERNAL_URL in its environment."""
    answer = directory / "result.json"
    tasks: list[dict[str, t.Any]] = [
        {
            "gitlab_fleet.upgrade.gitlab_package": {"state": "configured", "poll_interval": 1},
            "environment": {"EXTERNAL_URL": LEAKED},
            "register": "result",
        },
        {
            "ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": str(answer), "mode": "0600"},
            "delegate_to": "localhost",
        },
    ]
    playbook = directory / "playbook.json"
    playbook.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": tasks}]))
    done = fleet.play(str(playbook))
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, t.Any] = json.loads(answer.read_text())
    return result


def state(fleet: Instances, host: str) -> str:
    """What dpkg says itself."""
    return fleet.sh(host, "dpkg-query -W -f '${db:Status-Status}' gitlab-ee")


def traces(fleet: Instances, host: str) -> str:
    return fleet.sh(host, "python3 /root/fingerprint.py; stat -c '%n %y' /var/lib/dpkg/status")


def test_check_mode_predicts_and_changes_nothing(fleet: Instances) -> None:
    before = traces(fleet, "stuck")
    result = package(fleet, "stuck", check=True)
    assert traces(fleet, "stuck") == before
    assert result["changed"]
    assert (result["package"], result["package_version"]) == ("gitlab-ee", "14.2.7-ee.0")
    assert result["diff"] == {"before": {"gitlab-ee": HALF}, "after": {"gitlab-ee": WHOLE}}
    assert result["commands"] == [COMMAND]
    assert result["log"] is None


def test_a_hook_that_fails_again_is_told_with_its_cause(fleet: Instances) -> None:
    result = package(fleet, "stuck")
    assert result["failed"]
    assert not result["changed"]
    assert (result["before"], result["after"], state(fleet, "stuck")) == (HALF, HALF, HALF)
    diagnosis = result["diagnosis"]
    assert (diagnosis["cause"], diagnosis["migration_version"]) == ("bbm_unfinished", "20210622041846")
    assert "the package's own hook failed again" in result["msg"]
    assert "gitlab_fleet.upgrade.bbm_finalize" in result["remedy"]
    assert result["log"] in result["remedy"]
    assert "Expected batched background migration" in fleet.sh("stuck", f"cat {result['log']}")
    assert "reconfigure  " in fleet.output


def test_a_reconfigure_waits_for_the_hook_that_a_lost_run_left_behind(fleet: Instances) -> None:
    lost = fleet.run("stuck", "gitlab_package", state="configured", poll_interval=1, timeout=1)
    assert lost["failed"]
    assert lost["timed_out"]
    reconfigured = fleet.run("stuck", "gitlab_reconfigure", poll_interval=1)
    assert reconfigured["diagnosis"]["cause"] == "bbm_unfinished"
    jobs = "/var/lib/gitlab_fleet_upgrade/jobs"
    hook_ended = float(fleet.sh("stuck", f"cut -d' ' -f2 {jobs}/gitlab_package/status"))
    began = json.loads(fleet.sh("stuck", f"cat $(dirname {reconfigured['log']})/job.json"))["started_at"]
    assert began >= hook_ended


def test_apt_at_work_is_not_a_failing_hook(fleet: Instances) -> None:
    fleet.sh("stuck", HOLD_LOCK)
    try:
        result = package(fleet, "stuck")
    finally:
        fleet.sh("stuck", "rm -f /root/locked /root/held")
    assert result["failed"]
    assert "lock" in result["msg"]
    assert "wait until it ends" in result["remedy"]
    assert "diagnosis" not in result
    assert state(fleet, "stuck") == HALF


def test_once_the_cause_is_mended_the_package_becomes_configured(fleet: Instances, tmp_path: Path) -> None:
    finalized = fleet.run("mended", "bbm_finalize", all=True, poll_interval=1)
    assert not finalized["failed"], finalized
    migrated = fleet.run("mended", "db_migrate", poll_interval=1)
    assert not migrated["failed"], migrated
    assert state(fleet, "mended") == HALF

    result = package_with_leak(fleet, "mended", tmp_path)
    assert result["changed"]
    assert (result["before"], result["after"], state(fleet, "mended")) == (HALF, WHOLE, WHOLE)
    assert result["commands"] == [COMMAND]
    assert "gitlab Reconfigured!" in result["log_tail"]
    assert fleet.sh("mended", "dpkg --audit") == ""
    assert LEAKED not in fleet.sh("mended", "cat /etc/gitlab/gitlab.rb")
    for service in ("puma", "sidekiq"):
        assert fleet.sh("mended", f"gitlab-ctl status {service} || true").startswith("down: ")

    before = traces(fleet, "mended")
    again = package(fleet, "mended")
    assert not again["failed"], again
    assert (again["changed"], again["before"], again["commands"], again["log"]) == (False, WHOLE, [], None)
    assert traces(fleet, "mended") == before


def test_a_host_without_gitlab_is_an_error(fleet: Instances) -> None:
    result = package(fleet, "plain")
    assert result["failed"]
    assert "None of GitLab's packages (gitlab-ee, gitlab-ce, gitlab-jh, gitlab-fips) is installed" in result["msg"]


def test_a_self_compiled_installation_is_an_error(fleet: Instances) -> None:
    result = fleet.run("stuck", "gitlab_package", state="configured", install_type="source")
    assert result["failed"]
    assert "A self-compiled installation has no package" in result["msg"]
