# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with two real majors of PostgreSQL: what a package and gitlab-ctl make of them, and that exit codes say little (root)."""

from __future__ import annotations

import re

DATA = "/var/opt/gitlab/postgresql/data"


def test_a_package_brings_the_newer_major_and_gitlab_ctl_takes_it_back(start, other_postgresql):
    host = start("gitlab-14.0.12", other_postgresql)
    host("gitlab-rake 'mini_gitlab:seed_data[1]'; gitlab-ctl stop sidekiq")
    projects = host.sql("SELECT count(*) FROM projects")
    installed = host.install("14.2.7")
    assert installed.returncode == 0, installed.stdout
    assert "available and attempting automatic upgrade to it: \x1b[32mOK" in installed.stdout
    assert host.sql("SHOW server_version").startswith("18.")
    assert host.sql("SELECT count(*) FROM projects") == projects
    assert host("cat /var/opt/gitlab/postgresql-version.old").startswith("15.")

    again = host.run("gitlab-ctl pg-upgrade -w")
    assert (again.returncode, host.run("gitlab-ctl pg-upgrade -V 15").returncode) == (0, 0)
    assert re.fullmatch(r"The latest version 18\.\d+ is already running, nothing to do", again.stderr.strip())
    unknown = host.run("gitlab-ctl revert-pg-upgrade -V 14")
    assert (unknown.returncode, unknown.stdout.strip()) == (
        1,
        "The specified major version 14 is not supported. Choose from one of 15, 18.",
    )

    # Without the old data it changes the programs alone, and says that all is well.
    host(f"mv {DATA}.15 /root/kept")
    lost = host.run("gitlab-ctl revert-pg-upgrade -w")
    assert (lost.returncode, "data.15 does not exist, cannot revert data" in lost.stdout) == (0, True)
    assert "== Reverted ==" in lost.stdout
    assert host.run("gitlab-psql -c 'SELECT 1'").returncode != 0

    # runit may forget a start that comes right after the stop of a service that dies each second.
    host("gitlab-ctl stop postgresql; sleep 3; gitlab-ctl stop sidekiq")
    host(f"mv /root/kept {DATA}.15; gitlab-ctl revert-pg-upgrade -w -V 15")
    host("for n in $(seq 60); do gitlab-psql -c 'SELECT 1' && exit 0; sleep 1; done; exit 1")
    assert host.sql("SHOW server_version").startswith("15.")
    assert host.sql("SELECT count(*) FROM projects") == projects
    # What was stopped before runs now.
    assert host.service("sidekiq").startswith("run: ")
    done = host.run("gitlab-ctl revert-pg-upgrade -V 15")
    assert (done.returncode, re.search(r"Already running 15\.\d+", done.stdout) is not None) == (1, True)
