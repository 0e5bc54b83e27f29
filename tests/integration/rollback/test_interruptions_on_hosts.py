# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollback outlives what happens on its way: the controller dies, the connection breaks, the node restarts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from failed_upgrade import OLD, Rollback, assert_as_before, fail_to_upgrade, failed_upgrades, wait_for
from instances import Instances

HOST = "broken-off"
RESTORING = "restore  Restoring database"
RUNS = "ls /var/lib/gitlab_fleet_upgrade/jobs/archive | grep -c '^gitlab_restore' || true"
# A restore does not get past its first table while there is a row.
HELD = """
CREATE SCHEMA held;
CREATE TABLE held.back (now bool);
GRANT USAGE ON SCHEMA held TO PUBLIC;
GRANT SELECT ON held.back TO PUBLIC;
CREATE FUNCTION held.wait() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM held.back) LOOP PERFORM pg_sleep(0.2); END LOOP;
END $$;
CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION held.wait();
"""
# Another backup, of an older version whose package is there: the same archive with something at its end.
OLDER = """
set -e
mkdir -p /root/older/DEBIAN
printf 'Package: gitlab-ee\\nVersion: 14.0.5-ee.0\\nArchitecture: all\\nMaintainer: x <x@example.com>\\nDescription: x\\n' > /root/older/DEBIAN/control
dpkg-deb --build /root/older /root/older.deb >/dev/null
cd /var/lib/gitlab_fleet_upgrade/backups
cp -a before older
cp -p /var/opt/gitlab/backups/before_gitlab_backup.tar /var/opt/gitlab/backups/older_gitlab_backup.tar
head -c 512 /dev/zero >> /var/opt/gitlab/backups/older_gitlab_backup.tar
python3 - <<'END'
import hashlib, json
archive, path = "/var/opt/gitlab/backups/older_gitlab_backup.tar", "older/manifest.json"
manifest = json.load(open(path))
content = open(archive, "rb").read()
manifest["id"] = "older"
manifest["archive"] = {"path": archive, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
manifest["gitlab"]["version"] = "14.0.5-ee"
manifest["gitlab"]["package"]["version"] = "14.0.5-ee.0"
json.dump(manifest, open(path, "w"))
END
"""
NO_OLDER = (
    "rm -r /var/lib/gitlab_fleet_upgrade/backups/older /var/opt/gitlab/backups/older_gitlab_backup.tar /root/older*"
)
HOLD, LET_GO = "INSERT INTO held.back VALUES (true)", "DELETE FROM held.back"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with failed_upgrades("breakoff", [HOST]) as fleet:
        fleet.sql(HOST, HELD)
        yield fleet


def test_a_killed_controller_leaves_the_restore_running_and_the_next_run_takes_it_up(
    fleet: Instances, tmp_path: Path
) -> None:
    fleet.sql(HOST, HOLD)
    with Rollback(fleet, HOST).running(tmp_path) as output:
        wait_for(output, RESTORING)
    # Nobody empties the databases under it.
    refused = fleet.run(HOST, "database_clean", backup="before", accept_loss_of_all_data=True)
    assert "A restore is running on this host" in refused["msg"]
    # Nor does anything serve on them after a run that names another backup and comes to nothing.
    fleet.sh(HOST, OLDER)
    other = {"rollback_restore_backup": "older", "rollback_restore_package_file": "/root/older.deb"}
    stopped = Rollback(fleet, HOST).run(**other)
    assert stopped.returncode != 0
    assert "restore BACKUP=before GITLAB_ASSUME_YES=1 is running on this host" in stopped.stdout, stopped.stdout
    assert f"puma, sidekiq stay down on {HOST}" in stopped.stdout
    for service in ("puma", "sidekiq"):
        assert fleet.sh(HOST, f"gitlab-ctl status {service} || true").startswith("down: ")
    fleet.sh(HOST, NO_OLDER)
    fleet.sql(HOST, LET_GO)
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert fleet.sh(HOST, RUNS) == "1"
    assert_as_before(fleet, HOST)


def test_a_node_that_restarts_in_the_middle_is_restored_anew(fleet: Instances, tmp_path: Path) -> None:
    fail_to_upgrade(fleet, HOST)
    fleet.sql(HOST, HOLD)
    with Rollback(fleet, HOST).running(tmp_path) as output:
        wait_for(output, RESTORING)
    fleet.call("reboot", HOST)
    fleet.sh(HOST, "for n in $(seq 60); do gitlab-psql -c 'SELECT 1' && exit 0; sleep 1; done; exit 1")
    assert_does_not_serve(fleet)
    assert_nothing_else_begins(fleet)
    assert_does_not_serve(fleet)
    fleet.sql(HOST, LET_GO)
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    # The one that was lost, and the one that was proved.
    assert fleet.sh(HOST, RUNS) == "3"
    assert_as_before(fleet, HOST)


def test_a_lost_connection_is_survived(fleet: Instances, tmp_path: Path) -> None:
    fail_to_upgrade(fleet, HOST)
    fleet.sql(HOST, HOLD)
    with Rollback(fleet, HOST).running(tmp_path) as output:
        wait_for(output, RESTORING)
        fleet.sh(HOST, "mv /usr/sbin/sshd /root/sshd; pkill -KILL sshd; sleep 8; mv /root/sshd /usr/sbin/sshd")
        wait_for(output, "connected again")
        fleet.sql(HOST, LET_GO)
        wait_for(output, "Rolled back to before")
    assert_as_before(fleet, HOST)


def test_half_a_database_that_looks_whole_is_not_taken_for_nothing_to_do(fleet: Instances, tmp_path: Path) -> None:
    fail_to_upgrade(fleet, HOST)
    with Rollback(fleet, HOST).running(tmp_path) as output:
        wait_for(output, "node | Find which build is installed")
    # As after an upgrade that failed before its first migration, whose databases were being emptied: the last table that goes is the one that tells.
    fleet.sql(HOST, "DELETE FROM schema_migrations WHERE version > '20210611'; DROP TABLE push_event_payloads CASCADE")
    digest = fleet.sh(HOST, "sha256sum /etc/gitlab/gitlab-secrets.json | cut -d' ' -f1")
    check = fleet.run(HOST, "rollback_check", backup="before", node=HOST, secrets={HOST: digest})
    assert (check["version"], check["state"], check["begun"]) == (OLD, "roll_back", True)
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert "Rolled back to before" in done.stdout
    assert_as_before(fleet, HOST)


def test_services_that_were_left_stopped_are_started_and_nothing_else_is_claimed(fleet: Instances) -> None:
    stopped = fleet.run(HOST, "gitlab_services", name=["puma", "sidekiq"], state="stopped", remember=True)
    assert not stopped["failed"]
    # An operator keeps it down, also over a reboot.
    fleet.sh(HOST, "touch /opt/gitlab/sv/gitaly/down; gitlab-ctl stop gitaly")
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert "Nothing was restored" in done.stdout, done.stdout
    assert "Rolled back to" not in done.stdout
    assert fleet.sh(HOST, "gitlab-ctl status gitaly || true").startswith("down: ")
    fleet.sh(HOST, "rm /opt/gitlab/sv/gitaly/down; gitlab-ctl start gitaly")
    assert_as_before(fleet, HOST)


def assert_does_not_serve(fleet: Instances) -> None:
    """Check that nobody can write to half a restore, although the node has booted and its other services run."""
    states = fleet.sh(HOST, "gitlab-ctl status || true").splitlines()
    down = [state.split(": ")[1] for state in states if not state.startswith("run: ")]
    assert down == ["puma", "sidekiq"], states


def assert_nothing_else_begins(fleet: Instances) -> None:
    """Check that half-empty databases are neither migrated nor backed up, and that the one good backup is kept."""
    kept = fleet.sh(HOST, "ls -l /var/opt/gitlab/backups")
    for answer in fleet.run_tasks(
        HOST, [("bbm_status", {}), ("db_migrate", {}), ("gitlab_backup", {}), ("backup_retention", {"keep": 1})]
    ):
        assert answer["failed"], answer
        assert "is being rolled back to before" in answer["msg"]
        assert "Run the playbook rollback again" in answer["msg"]
    for playbook in ("roll_forward", "finish_migrations"):
        stopped = fleet.play(f"gitlab_fleet.upgrade.{playbook}", "-e", f"gitlab_upgrade_hosts={HOST}")
        assert stopped.returncode == 2, stopped.stdout
        assert "is being rolled back to before" in stopped.stdout
    assert fleet.sh(HOST, "ls -l /var/opt/gitlab/backups") == kept
