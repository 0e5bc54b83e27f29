# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases alone are rolled back: repositories and files stay as they are, and nobody takes that for a whole restore."""

from __future__ import annotations

import json
import typing as t

import pytest
from failed_upgrade import DIGEST, LATE, Rollback, assert_as_before, image, with_packages
from instances import Instances

HOST = "alone"
# The first version whose restore can leave parts out.
OLD, NEW = "14.10.5-ee", "15.0.5-ee"
DATABASE, WHOLE = "database", "whole"
STAYED = "Repositories and files stay as they are, newer than the database"
LATER = f"""
repository=$(find /var/opt/gitlab/git-data -name '*.git' | sort | head -n 1)
git="chpst -u git:git git -C $repository -c user.name=late -c user.email=late@example.com"
$git update-ref refs/heads/main $($git commit-tree -p main -m late 'main^{{tree}}')
chpst -u git:git install -D /dev/null /var/opt/gitlab/gitlab-rails/uploads/late/file
{DIGEST} | grep -v ^table >/root/files
"""


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with with_packages("alone", {HOST: image("image", "gitlab-14.10.5")}) as fleet:
        fleet.sh(HOST, "cd /; gitlab-rake 'mini_gitlab:seed_data[2]'")
        variables = {"backup_id": DATABASE, "backup_database_only": True, "gitlab_upgrade_hosts": HOST}
        done = fleet.play("gitlab_fleet.upgrade.backup", "-e", json.dumps(variables))
        assert done.returncode == 0, done.stdout
        made = fleet.run_tasks(
            HOST, [("gitlab_backup", {"id": WHOLE}), ("backup_verify", {"id": WHOLE, "node": HOST, "poll_interval": 1})]
        )
        assert not any(result["failed"] for result in made), made
        fleet.sh(HOST, f"{DIGEST} >/root/digest; apt-get install -y gitlab-ee={NEW}.0")
        fleet.sql(HOST, LATE)
        fleet.sh(HOST, LATER)
        yield fleet


def check(fleet: Instances, *cases: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    digest = fleet.sh(HOST, "sha256sum /etc/gitlab/gitlab-secrets.json | cut -d' ' -f1")
    asked = {"node": HOST, "secrets": {HOST: digest}, "count_rows": False}
    return fleet.run_each(HOST, "rollback_check", [{**asked, **case} for case in cases])


def files(fleet: Instances) -> str:
    return fleet.sh(HOST, f"{DIGEST} | grep -v ^table")


def tables(fleet: Instances, command: str) -> str:
    return fleet.sh(HOST, f"{command} | grep ^table")


def test_the_databases_come_back_and_what_was_pushed_stays(fleet: Instances) -> None:
    whole, alone = check(fleet, {"backup": DATABASE}, {"backup": DATABASE, "database_only": True})
    assert [reason["check"] for reason in whole["reasons"]] == ["parts"]
    assert "rollback_restore_database_only: true" in whole["reasons"][0]["remedy"]
    assert alone["reasons"] == []

    done = Rollback(fleet, HOST).run(rollback_restore_backup=DATABASE, rollback_restore_database_only=True)
    assert done.returncode == 0, done.stdout
    assert "restore the databases from database" in done.stdout
    assert "main projects: 1 rows more" in done.stdout
    assert STAYED in done.stdout
    assert tables(fleet, DIGEST) == tables(fleet, "cat /root/digest")
    assert files(fleet) == fleet.sh(HOST, "cat /root/files") != fleet.sh(HOST, "grep -v ^table /root/digest")


def test_a_record_of_the_databases_alone_is_not_taken_for_a_whole_restore(fleet: Instances) -> None:
    alone = {"backup": WHOLE, "database_only": True, "poll_interval": 1}
    _stopped, _emptied, unsaved, restored, refused = fleet.run_tasks(
        HOST,
        [
            ("gitlab_services", {"name": ["puma", "sidekiq"], "state": "stopped"}),
            ("database_clean", {"backup": WHOLE, "accept_loss_of_all_data": True}),
            ("gitlab_backup", {}),
            ("gitlab_restore", alone),
            ("gitlab_restore", {"backup": DATABASE}),
        ],
    )
    # Empty databases pass for nothing else, also without the role.
    assert unsaved["failed"]
    assert "is being rolled back to whole" in unsaved["msg"]
    assert restored["restored"], restored
    assert {part["name"] for part in restored["parts"] if part["outcome"] == "done"} == {"database"}
    assert refused["failed"]
    assert "has no repositories" in refused["msg"]
    assert files(fleet) == fleet.sh(HOST, "cat /root/files")
    states = [answer["state"] for answer in check(fleet, {"backup": WHOLE, "database_only": True}, {"backup": WHOLE})]
    assert states == ["restored", "roll_back"]

    done = Rollback(fleet, HOST).run(rollback_restore_backup=WHOLE)
    assert done.returncode == 0, done.stdout
    assert "restore everything from whole" in done.stdout
    assert STAYED not in done.stdout
    assert_as_before(fleet, HOST, OLD, moving=())
