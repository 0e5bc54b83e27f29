# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollback that meets a full disk or a database that refuses statements says so, loses nothing, and ends right the next time."""

from __future__ import annotations

import typing as t

import pytest
from failed_upgrade import ARCHIVE, Rollback, assert_as_before, fail_to_upgrade, failed_upgrades
from instances import Instances

HOST = "faulty"
UNPACKED = "/var/opt/gitlab/backups/db"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with failed_upgrades("fault", [HOST]) as fleet:
        yield fleet


def assert_down(fleet: Instances) -> None:
    """Half a restore must not serve."""
    for service in ("puma", "sidekiq"):
        assert fleet.sh(HOST, f"gitlab-ctl status {service} || true").startswith("down: ")


def test_a_disk_that_fills_up_in_the_middle(fleet: Instances) -> None:
    checksum = fleet.sh(HOST, f"sha256sum {ARCHIVE}")
    late = fleet.sh(HOST, "redis-cli -s /var/opt/gitlab/redis/redis.socket set newer 'a job of the newer version'")
    assert late == "OK"
    # What is unpacked there has a file system of its own, and its 8 kB are soon full.
    fleet.sh(
        HOST,
        f"install -d -o git -g git -m 700 {UNPACKED}; mount -t tmpfs -o size=8k,mode=700,uid=$(id -u git),gid=$(id -g git) tmpfs {UNPACKED}",
    )
    try:
        done = Rollback(fleet, HOST).run()
    finally:
        fleet.sh(HOST, f"umount {UNPACKED}; rmdir {UNPACKED}")
    assert done.returncode != 0
    assert "tar: db/database.sql.gz: " in done.stdout, done.stdout
    assert "Run database_clean and this again" in done.stdout
    assert f"puma, sidekiq stay down on {HOST}, also when a node boots" in done.stdout
    assert fleet.sh(HOST, f"sha256sum {ARCHIVE}") == checksum
    assert_down(fleet)

    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert "Rolled back to before" in done.stdout
    assert "stay down on" not in done.stdout
    assert_as_before(fleet, HOST)
    assert fleet.sh(HOST, f"sha256sum {ARCHIVE}") == checksum
    # Nothing of the newer version, neither in the database nor in Redis, nor where the next upgrade looks.
    assert fleet.sql(HOST, "SELECT count(*) FROM schema_migrations WHERE version > '20210611'") == "0"
    assert fleet.sql(HOST, "SELECT count(*) FROM pg_class WHERE relname = 'postgres_async_indexes'") == "0"
    assert fleet.sh(HOST, "redis-cli -s /var/opt/gitlab/redis/redis.socket exists newer") == "0"
    assert fleet.sh(HOST, "ls /var/lib/gitlab_fleet_upgrade/evidence/rollback_restore | grep -c '^redis-dump'") != "0"
    revision = fleet.sh(HOST, "cat /opt/gitlab/embedded/service/gitlab-rails/REVISION")
    statuses = fleet.sh(HOST, "ls /var/opt/gitlab/gitlab-rails/upgrade-status").splitlines()
    assert [name for name in statuses if not name.endswith(revision)] == []

    before = fleet.sh(HOST, "gitlab-ctl stop sidekiq >/dev/null; python3 /root/fingerprint.py")
    again = Rollback(fleet, HOST).run("--check")
    assert "Nothing to do" in again.stdout, again.stdout
    assert fleet.sh(HOST, "python3 /root/fingerprint.py") == before


def test_statements_that_postgresql_refuses_do_not_pass_silently(fleet: Instances) -> None:
    fail_to_upgrade(fleet, HOST)
    fleet.sql(
        HOST,
        """
        CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
        DECLARE made record;
        BEGIN
          FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
            IF made.object_identity = 'public.users' THEN RAISE EXCEPTION 'no users here'; END IF;
          END LOOP;
        END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse();
        """,
    )
    done = Rollback(fleet, HOST).run()
    assert done.returncode != 0
    assert "public.users is not there" in done.stdout, done.stdout
    assert "no users here" in done.stdout
    assert_down(fleet)

    fleet.sql(HOST, "DROP EVENT TRIGGER refuse; DROP FUNCTION refuse();")
    done = Rollback(fleet, HOST).run()
    assert done.returncode == 0, done.stdout
    assert_as_before(fleet, HOST)
