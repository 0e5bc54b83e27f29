# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another version of the package, put into the place of the installed one by a real apt."""

from __future__ import annotations

import subprocess
import time
import typing as t

import pytest
from instances import MINI_GITLAB, Instances

if t.TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "14.0.12-ee.0", "14.2.7-ee.0"
BACK: dict[str, t.Any] = {
    "state": "present",
    "version": OLD,
    "allow_downgrade": True,
    "skip_hooks": True,
    "poll_interval": 1,
}
MARKERS = "find /etc/gitlab -name 'skip-auto-*' | sort"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Instances]:
    """Two hosts on which the newer package was left half-configured."""
    repository: Path = tmp_path_factory.mktemp("repository")
    subprocess.run([MINI_GITLAB / "build.py", "repo", repository], check=True, capture_output=True)
    made = subprocess.run(
        [MINI_GITLAB / "build.py", "scenario", "stuck-copy-column"], stdout=subprocess.PIPE, text=True, check=True
    )
    with Instances.fleet("downgrade") as instances:
        for host in ("one", "other"):
            instances.call(*("up", host, "--image", made.stdout.strip(), "--bind", f"{repository}:/srv/gitlab-repo"))
        # Writes the inventory.
        instances.up({})
        for host in ("one", "other"):
            instances.call("push", host, str(MINI_GITLAB / "fingerprint.py"), "/root/fingerprint.py")
            instances.sh(host, "for n in $(seq 60); do gitlab-psql -c 'SELECT 1' && break; sleep 1; done")
            instances.sh(host, "gitlab-ctl stop sidekiq; gitlab-ctl stop puma")
        yield instances


def installed(fleet: Instances, host: str) -> str:
    """What dpkg and GitLab's own file say."""
    return fleet.sh(
        host,
        "dpkg-query -W -f '${db:Status-Status} ${Version} ' gitlab-ee; cat /opt/gitlab/embedded/service/gitlab-rails/VERSION",
    )


def traces(fleet: Instances, host: str) -> str:
    return fleet.sh(host, f"python3 /root/fingerprint.py; stat -c '%n %y' /var/lib/dpkg/status; {MARKERS}")


def test_an_older_version_is_not_installed_unless_it_is_allowed(fleet: Instances) -> None:
    before = traces(fleet, "one")
    result = fleet.run("one", "gitlab_package", state="present", version=OLD)
    assert result["failed"]
    assert "allow_downgrade: true" in result["msg"]
    assert traces(fleet, "one") == before


def test_a_version_that_cannot_be_had_is_refused_before_anything_is_done(fleet: Instances) -> None:
    before = traces(fleet, "one")
    unknown, wrong_file = fleet.run_each(
        "one",
        "gitlab_package",
        [
            {**BACK, "version": "14.0.11-ee.0"},
            {**BACK, "version": OLD, "file": f"/srv/gitlab-repo/gitlab-ee_{NEW}_all.deb"},
        ],
    )
    assert "do not have gitlab-ee 14.0.11-ee.0" in unknown["msg"]
    assert f"is not the package gitlab-ee {OLD}: gitlab-ee {NEW}" in wrong_file["msg"]
    assert traces(fleet, "one") == before


def test_check_mode_predicts_and_changes_nothing(fleet: Instances) -> None:
    before = traces(fleet, "one")
    result = fleet.run("one", "gitlab_package", check=True, **BACK)
    assert traces(fleet, "one") == before
    assert result["changed"]
    assert result["diff"] == {
        "before": {"gitlab-ee": f"{NEW} half-configured"},
        "after": {"gitlab-ee": f"{OLD} installed"},
    }
    assert result["commands"][0][-1] == f"gitlab-ee={OLD}"


def test_the_older_version_is_there_and_its_hooks_did_nothing(fleet: Instances) -> None:
    fleet.sh("one", "apt-mark hold gitlab-ee; touch /etc/gitlab/skip-auto-backup")
    backups = fleet.sh("one", "ls /var/opt/gitlab/backups /etc/gitlab/config_backup")
    migrated = fleet.sql("one", "SELECT count(*), max(version) FROM schema_migrations")
    reconfigured = fleet.sh("one", "ls /var/log/gitlab/reconfigure")
    result = fleet.run("one", "gitlab_package", **BACK)
    assert result["changed"], result
    assert installed(fleet, "one") == f"installed {OLD} 14.0.12-ee"
    assert fleet.sh("one", "dpkg --audit") == ""
    assert "package  Unpacking gitlab-ee (14.0.12-ee.0) over (14.2.7-ee.0)" in fleet.output
    # apt forgets a hold when it is told to change the package.
    assert fleet.sh("one", "apt-mark showhold") == "gitlab-ee"
    # The operator's own marker stays, ours is gone.
    assert fleet.sh("one", MARKERS) == "/etc/gitlab/skip-auto-backup"
    assert fleet.sh("one", "ls /var/opt/gitlab/backups /etc/gitlab/config_backup") == backups
    assert fleet.sh("one", "ls /var/log/gitlab/reconfigure") == reconfigured
    assert fleet.sql("one", "SELECT count(*), max(version) FROM schema_migrations") == migrated
    for service in ("puma", "sidekiq"):
        assert fleet.sh("one", f"gitlab-ctl status {service} || true").startswith("down: ")

    before = traces(fleet, "one")
    again = fleet.run("one", "gitlab_package", **BACK)
    assert (again["changed"], again["commands"], again["log"]) == (False, [], None)
    assert traces(fleet, "one") == before


def test_a_node_restarted_in_the_middle_gets_the_package_all_the_same(fleet: Instances) -> None:
    # The hook stops for long enough that the restart meets the package unpacked and not configured.
    fleet.sh(
        "other",
        "cat > /usr/bin/dpkg.slow <<'X'\n#!/bin/sh\nsleep 20\nX\nchmod +x /usr/bin/dpkg.slow;"
        " echo 'DPkg::Pre-Install-Pkgs {\"/usr/bin/dpkg.slow\";};' > /etc/apt/apt.conf.d/99slow",
    )
    lost = fleet.run("other", "gitlab_package", **{**BACK, "timeout": 3})
    assert lost["timed_out"], lost
    assert fleet.sh("other", MARKERS) == "/etc/gitlab/skip-auto-backup\n/etc/gitlab/skip-auto-reconfigure"
    fleet.call("reboot", "other")
    time.sleep(1)
    fleet.sh("other", "rm /etc/apt/apt.conf.d/99slow")
    result = fleet.run("other", "gitlab_package", **BACK)
    assert result["changed"], result
    # A restart that ends the processes in order leaves an exit status behind, and one that cuts them off none.
    assert result["notes"][0].startswith("An earlier run ")
    assert installed(fleet, "other") == f"installed {OLD} 14.0.12-ee"
    assert fleet.sh("other", MARKERS) == ""


def test_a_file_takes_the_place_of_the_package_sources(fleet: Instances) -> None:
    fleet.sh("other", f"cp /srv/gitlab-repo/gitlab-ee_{NEW}_all.deb /root/new.deb")
    result = fleet.run(
        "other", "gitlab_package", state="present", version=NEW, file="/root/new.deb", skip_hooks=True, poll_interval=1
    )
    assert result["changed"], result
    assert installed(fleet, "other") == f"installed {NEW} 14.2.7-ee"
