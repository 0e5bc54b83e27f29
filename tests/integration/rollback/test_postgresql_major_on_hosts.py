# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hop that also brought another major of PostgreSQL, with two real ones: its way back, and what is none."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from failed_upgrade import LATE, NEW, OLD, Rollback, assert_as_before, back_up, build, image, with_packages
from instances import Instances

HOST = "two-majors"
DATA = "/var/opt/gitlab/postgresql/data"
PROGRAMS = "/opt/gitlab/embedded/postgresql/15"
CTL = "/opt/gitlab/bin/gitlab-ctl"
JOB = "/var/lib/gitlab_fleet_upgrade/jobs/postgresql_revert"
GO_BACK: dict[str, t.Any] = {"major": 15, "accept_loss_since_upgrade": True}
# What ran whenever dpkg was about to change the package.
PROBE = "DPkg::Pre-Invoke {\"gitlab-psql -XAtc 'SHOW server_version' >> /root/at-package-changes || true\";};"
KEEP_MAJOR = "/etc/gitlab/disable-postgresql-upgrade"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    """One host on the old version and the old major, with a verified backup."""
    with with_packages("major", {HOST: image("image", "gitlab-14.0.12")}, [build("postgresql")]) as fleet:
        fleet.sh(HOST, f"gitlab-rake 'mini_gitlab:seed_data[3]'; touch {KEEP_MAJOR}")
        fleet.sh(HOST, f"cat > /etc/apt/apt.conf.d/probe <<'END'\n{PROBE}\nEND")
        back_up(fleet, HOST)
        yield fleet


def major(fleet: Instances) -> str:
    return fleet.sql(HOST, "SHOW server_version").split(".")[0]


def majors_at_package_changes(fleet: Instances) -> list[str]:
    """Return which majors ran when the package was changed since this was asked last."""
    seen = fleet.sh(HOST, "cat /root/at-package-changes; rm /root/at-package-changes")
    return [line.split(".")[0] for line in seen.splitlines()]


def upgrade(fleet: Instances) -> None:
    """Bring the newer version and the newer major, and write something that the backup does not have."""
    fleet.sh(HOST, f"apt-get install -y gitlab-ee={NEW}.0")
    assert major(fleet) == "15"
    fleet.sh(HOST, "gitlab-ctl pg-upgrade -w")
    assert major(fleet) == "18"
    assert fleet.sh(HOST, f"cat {DATA}/PG_VERSION {DATA}.15/PG_VERSION").split() == ["18", "15"]
    fleet.sql(HOST, LATE)
    fleet.await_ready(HOST)
    assert set(majors_at_package_changes(fleet)) == {"15"}


@pytest.fixture
def upgraded(fleet: Instances) -> None:
    """The instance after the whole hop, whatever the test before has left."""
    if fleet.sh(HOST, "cat /opt/gitlab/embedded/service/gitlab-rails/VERSION") != NEW:
        upgrade(fleet)


def check(fleet: Instances) -> dict[str, t.Any]:
    digest = fleet.sh(HOST, "sha256sum /etc/gitlab/gitlab-secrets.json | cut -d' ' -f1")
    return fleet.run(HOST, "rollback_check", backup="before", node=HOST, secrets={HOST: digest}, count_rows=False)


@contextlib.contextmanager
def instead_of_revert(fleet: Instances, script: str) -> t.Iterator[None]:
    """Let gitlab-ctl do something else where it is to go back to an older PostgreSQL."""
    text = f'#!/bin/sh\n[ "$1" = revert-pg-upgrade ] || exec {CTL}.real "$@"\n{script}\n'
    fleet.sh(HOST, f"mv {CTL} {CTL}.real; cat > {CTL} <<'END'\n{text}END\nchmod 755 {CTL}")
    try:
        yield
    finally:
        fleet.sh(HOST, f"mv {CTL}.real {CTL}")


def assert_back(fleet: Instances) -> None:
    assert_as_before(fleet, HOST)
    assert major(fleet) == "15"
    assert fleet.sh(HOST, f"ls -d {DATA}*").split() == [DATA]
    # A restart finds the same.
    fleet.sh(
        HOST, "gitlab-ctl restart postgresql; for n in $(seq 60); do gitlab-psql -c 'SELECT 1' && break; sleep 1; done"
    )
    assert major(fleet) == "15"


def test_without_the_old_data_or_programs_nothing_is_begun(fleet: Instances, upgraded: None) -> None:
    """GitLab's own command would change the programs alone, and leave no server."""
    before = fleet.sh(HOST, "gitlab-ctl status | sed 's/ [0-9]*s//g'")
    fleet.sh(HOST, f"mv {DATA}.15 /root/kept")
    done = Rollback(fleet, HOST).run()
    fleet.sh(HOST, f"mkdir {DATA}.15")
    nothing_in_it = check(fleet)
    alone = fleet.run(HOST, "postgresql_revert", **GO_BACK)
    fleet.sh(HOST, f"rmdir {DATA}.15; mv /root/kept {DATA}.15; mv {PROGRAMS} /root/programs")
    no_programs = check(fleet)
    fleet.sh(HOST, f"mv /root/programs {PROGRAMS}")
    assert done.returncode == 2
    assert "nothing was changed" in done.stdout
    for text in (done.stdout, nothing_in_it["reasons"][0]["text"], alone["msg"]):
        assert f"there are no data in {DATA}.15 any more" in text
    assert "the installed package does not bring PostgreSQL 15 any more" in no_programs["reasons"][0]["text"]
    unaccepted, there = fleet.run_each(HOST, "postgresql_revert", [{"major": 15}, {"major": 18}])
    assert "accept_loss_since_upgrade: true" in unaccepted["msg"]
    assert (there["failed"], there["changed"], there["commands"]) == (False, False, [])
    planned = fleet.run(HOST, "postgresql_revert", check=True, major=15)
    assert (planned["changed"], planned["commands"][0][-1]) == (True, "15")
    assert major(fleet) == "18"
    assert fleet.sh(HOST, "gitlab-ctl status | sed 's/ [0-9]*s//g'") == before


def test_what_the_command_says_is_no_proof(fleet: Instances, upgraded: None) -> None:
    with instead_of_revert(fleet, "echo broken >&2; exit 7"):
        failed = fleet.run(HOST, "postgresql_revert", **GO_BACK)
    with instead_of_revert(fleet, "echo '== Reverted =='"):
        done = Rollback(fleet, HOST).run()
    assert "ended with exit status 7, and PostgreSQL 18 runs, not 15" in failed["msg"]
    assert "ended with exit status 0, and PostgreSQL 18 runs, not 15" in done.stdout
    assert "gitlab-ctl revert-pg-upgrade -w -V 15 on the host" in done.stdout
    assert done.returncode == 2
    # The package is still the one that has both, and nothing serves.
    assert fleet.sh(HOST, "dpkg-query -W -f '${Version}' gitlab-ee") == f"{NEW}.0"
    assert "down: puma" in fleet.fails(HOST, "gitlab-ctl status")


def test_the_old_major_is_back_before_the_package_changes(fleet: Instances, upgraded: None) -> None:
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert "go back to PostgreSQL 15, install GitLab" in done.stdout
    assert majors_at_package_changes(fleet) == ["15"]
    assert_back(fleet)


def test_it_goes_on_wherever_it_was_broken_off(fleet: Instances, upgraded: None, tmp_path: Path) -> None:
    """The controller is killed while gitlab-ctl works, then gitlab-ctl half-way, by hand; then all goes to its end."""
    with instead_of_revert(fleet, f'while [ -e /root/hold ]; do sleep 0.2; done; exec {CTL}.real "$@"'):
        fleet.sh(HOST, "touch /root/hold")
        with Rollback(fleet, HOST).running(tmp_path):
            fleet.sh(HOST, f"for n in $(seq 180); do [ -e {JOB} ] && exit 0; sleep 1; done; exit 1")
        refused = check(fleet)
        fleet.sh(HOST, "rm /root/hold")
        taken_up = fleet.run(HOST, "postgresql_revert", poll_interval=1, **GO_BACK)
    assert "revert-pg-upgrade -w -V 15 is running on this host" in refused["msg"]
    assert (taken_up["failed"], taken_up["changed"], taken_up["major_before"]) == (False, True, 18)
    # The data from before the upgrade of PostgreSQL, which are not the restored backup.
    assert major(fleet) == "15"
    found = check(fleet)
    assert (found["state"], found["begun"], found["postgresql"], found["possible"]) == ("roll_back", True, None, True)

    fleet.sh(HOST, f"gitlab-ctl stop postgresql; mv {DATA} {DATA}.15")
    no_data = check(fleet)
    fleet.sh(HOST, f"mv {DATA}.15 {DATA}; ln -sf /opt/gitlab/embedded/postgresql/18/bin/* /opt/gitlab/embedded/bin/")
    other_programs = check(fleet)
    assert f"mv {DATA}.15 {DATA} && gitlab-ctl revert-pg-upgrade -w -V 15." in no_data["remedy"]
    assert "gitlab-ctl revert-pg-upgrade -w -V 15," in other_programs["remedy"]
    fleet.sh(HOST, "gitlab-ctl revert-pg-upgrade -w -V 15")

    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert "restore everything from before" in done.stdout
    assert majors_at_package_changes(fleet) == ["15"]
    assert_back(fleet)


def test_the_documented_way_without_the_old_data_ends_in_an_empty_server_that_is_not_taken_for_whole(
    fleet: Instances, upgraded: None
) -> None:
    fleet.sh(HOST, f"rm -r {DATA}.15")
    page = (Path(__file__).parents[3] / "docs" / "troubleshooting.md").read_text()
    commands = page.split("### No way back for PostgreSQL")[1].split("```console")[1].split("```")[0]
    assert f"gitlab-ee={OLD}.0" in commands
    fleet.sh(HOST, "gitlab-ctl stop puma; gitlab-ctl stop sidekiq")
    fleet.sh(HOST, commands.replace("# ", ""))
    assert major(fleet) == "15"
    found = check(fleet)
    assert (found["version"], found["state"], found["reasons"], found["postgresql"]) == (OLD, "roll_back", [], None)
