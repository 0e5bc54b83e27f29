# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever goes wrong with a backup, nobody accepts it, and the next run ends right."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from backing_up import BACKUPS, STATE, Host, kill_controller
from instances import Instances

RAILS = "/opt/gitlab/embedded/service/gitlab-rails"
SECRETS = "/etc/gitlab/gitlab-secrets.json"
UPLOADS = "/var/opt/gitlab/gitlab-rails/uploads"
SLOW = 'sleep 6\nexec "$real" "$@"'


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("backup-faults") as instances:
        # Up to 15.x a part that failed does not change the exit status.
        instances.up({"acme-1": "gitlab-14.0.12"})
        instances.sh("acme-1", "cd /; gitlab-rake 'mini_gitlab:seed_data[3]'")
        yield instances


@pytest.fixture
def host(fleet: Instances) -> t.Iterator[Host]:
    host = Host(fleet, "acme-1")
    yield host
    assert host.processes() == ""
    host.sh(f"rm -rf {BACKUPS}/* {STATE}/backups")


def staged(host: Host) -> list[str]:
    """What is in the directory of the backups besides archives."""
    return [name for name in host.sh(f"ls -A {BACKUPS}").split() if not name.endswith("_gitlab_backup.tar")]


def test_a_part_that_fails_though_the_program_exits_with_0(host: Host) -> None:
    host.sh(f"chmod 000 {UPLOADS}")
    try:
        exit_status = host.sh(
            f"gitlab-backup create BACKUP=bare >/dev/null 2>&1; echo $?; rm -f {host.archive('bare')}"
        )
        result = host.run("gitlab_backup", id="part")
    finally:
        host.sh(f"chmod 700 {UPLOADS}")

    assert exit_status == "0"
    assert result["failed"]
    assert "These parts failed: uploads" in result["msg"]
    assert {part["name"]: part["outcome"] for part in result["parts"]}["uploads"] == "failed"
    verified = host.run("backup_verify", id="part")
    assert verified["failed"]
    assert not verified["verified"]
    host.refused("part")


def test_a_dump_cut_short_though_the_program_exits_with_0(host: Host) -> None:
    with host.pg_dump('"$real" "$@" | head -c 30000'):
        made = host.run("gitlab_backup", id="short")
    assert not made["failed"], made

    result = host.run("backup_verify", id="short")

    assert result["failed"]
    failed = {check["name"]: check["detail"] for check in result["checks"] if not check["passed"]}
    assert set(failed) == {"dump of main"}
    assert "cut short" in failed["dump of main"]
    host.refused("short")


def test_a_dump_without_a_table_that_the_database_has(host: Host) -> None:
    with host.pg_dump('exec "$real" --exclude-table=users "$@"'):
        host.made(id="table")

    result = host.run("backup_verify", id="table")

    assert result["failed"]
    assert "public.users" in result["msg"]
    host.refused("table")


def test_not_enough_room_is_told_before_and_a_full_disk_leaves_nothing_behind(host: Host) -> None:
    host.sh(f"mount -t tmpfs -o size=700k,uid=$(id -u git),mode=700 tmpfs {BACKUPS}")
    try:
        refused = host.run("gitlab_backup", id="full")
        assert refused["failed"]
        assert "not enough room" in refused["msg"]
        assert refused["space"]["free"] < refused["space"]["needed"]
        assert host.sh(f"ls -A {BACKUPS} {STATE}/backups 2>/dev/null || true") == f"{BACKUPS}:"

        # Random bytes, which do not become fewer.
        host.sh(f"head -c 900000 /dev/urandom >{UPLOADS}/large; chown git {UPLOADS}/large")
        full = host.run("gitlab_backup", id="full", check_space=False)
        assert full["failed"]
        assert full["diagnosis"]["cause"] == "no_space"
        assert host.sh(f"ls -A {BACKUPS}") == ""
        host.refused("full")
    finally:
        host.sh(f"umount {BACKUPS}; rm -f {UPLOADS}/large")
    assert not host.made(id="full")["failed"]
    assert host.verified("full")["verified"]


def test_an_archive_that_was_changed_after_its_verification(host: Host) -> None:
    host.made(id="changed", database_only=True)
    host.verified("changed")
    # One bit of the end, which holds nothing: only the checksum tells.
    host.sh(
        f"printf '\\001' | dd of={host.archive('changed')} bs=1 seek=$(($(stat -c %s {host.archive('changed')}) - 9)) conv=notrunc"
    )

    used = host.run("backup_copy", id="changed")
    assert used["failed"]
    assert "has the sha256" in used["msg"]
    proof = host.run("backup_prove", id="changed")
    assert proof["failed"]
    assert "has the sha256" in proof["msg"]


def test_an_archive_that_was_damaged_inside_counts_again_when_it_is_brought_back(host: Host) -> None:
    host.made(id="damaged", database_only=True)
    before = host.verified("damaged")["manifest"]
    script = "import sys; p = sys.argv[1]; b = bytearray(open(p, 'rb').read()); i = b.index(b'\\x1f\\x8b\\x08'); b[i + 5000] ^= 255; open(p, 'wb').write(b)"
    host.sh(f'cp -p {host.archive("damaged")} /root/copy.tar; python3 -c "{script}" {host.archive("damaged")}')

    result = host.run("backup_verify", id="damaged")

    assert result["failed"]
    assert "has the sha256" in result["msg"]
    assert "db/database.sql.gz" in result["msg"]
    host.refused("damaged")

    host.sh(f"rm {host.archive('damaged')}")
    missing = host.run("backup_verify", id="damaged")
    assert missing["failed"]
    assert "No such file" in missing["msg"]
    assert missing["verified"] is False
    host.refused("damaged")

    host.sh(f"mv /root/copy.tar {host.archive('damaged')}")
    back = host.verified("damaged")["manifest"]
    assert dict(back, verified_at=before["verified_at"]) == before


def test_a_good_backup_stays_one_when_the_instance_is_upgraded(host: Host) -> None:
    for name in ("kept", "late"):
        host.made(id=name, database_only=True)
    before = host.verified("kept")["manifest"]
    # What an upgrade changes of all that a backup is compared with.
    host.sh(f"cp -p {RAILS}/VERSION {SECRETS} /root; echo 14.2.7-ee >{RAILS}/VERSION; echo >>{SECRETS}")
    host.fleet.sql(host.name, "INSERT INTO schema_migrations VALUES ('20210728174349')")
    try:
        again = host.verified("kept")
        late = host.run("backup_verify", id="late")
    finally:
        host.sh(f"cp -p /root/VERSION {RAILS}/VERSION; cp -p /root/gitlab-secrets.json {SECRETS}")
        host.fleet.sql(host.name, "DELETE FROM schema_migrations WHERE version = '20210728174349'")

    assert not again["changed"]
    assert again["manifest"] == before
    assert not host.run("backup_copy", id="kept")["failed"]
    assert late["failed"]
    assert {check["name"] for check in late["checks"] if not check["passed"]} == {
        "version",
        "schema of main",
        "secrets",
    }
    host.refused("late")


def test_another_edition_and_secrets_that_differ(host: Host) -> None:
    host.made(id="edition", database_only=True)
    archive = host.archive("edition")
    host.sh(
        f"cd /tmp; mkdir edition; tar -C edition -xf {archive}; sed -i 's/^:gitlab_version: .*/:gitlab_version: 14.0.12/' edition/backup_information.yml;"
        f" tar -C edition -cf {archive} backup_information.yml db; rm -rf edition"
    )
    result = host.run("backup_verify", id="edition")
    assert result["failed"]
    assert "of GitLab 14.0.12, 14.0.12-ee is installed" in result["msg"]
    host.refused("edition")

    host.made(id="secrets", database_only=True)
    for secrets, words in (({"acme-2": "ab" * 32}, "on acme-2"), ({"acme-2": None}, "could not be read: acme-2")):
        result = host.run("backup_verify", id="secrets", node="acme-1", secrets=secrets)
        assert result["failed"]
        assert words in result["msg"]
        host.refused("secrets")
    assert host.verified("secrets", node="acme-1")["verified"]


def test_a_dump_through_pgbouncer_is_refused(host: Host) -> None:
    config = "/var/opt/gitlab/gitlab-rails/etc/database.yml"
    host.sh(f"cp -p {config} /root/database.yml; sed -i 's/^\\( *port: \\).*/\\16432/' {config}")
    try:
        result = host.run("gitlab_backup", id="pooled")
    finally:
        host.sh(f"mv /root/database.yml {config}")

    assert result["failed"]
    assert "PgBouncer" in result["msg"]
    assert "database_host" in result["msg"]
    assert staged(host) == []


def test_a_killed_controller_loses_nothing_and_the_backup_is_made_once(host: Host, tmp_path: Path) -> None:
    with host.pg_dump(SLOW):
        with host.playing(tmp_path, "gitlab_backup") as (process, _output):
            host.wait_until(lambda: "pg_dump" in host.processes())
            kill_controller(process, tmp_path)
        host.sh("pkill -KILL -f 'sshd: roo[t]' || true")
        # Whoever never asks again can still find its files, and remove them.
        run = json.loads(host.sh(f"cat {STATE}/backups/*/run.json"))
        assert run["archive"].startswith(f"{BACKUPS}/fleet_")
        assert run["configuration"] == host.sh(f"ls {STATE}/backups/*/gitlab_config_*.tar")
        result = host.run("gitlab_backup")
    assert not result["failed"], result
    assert host.sh(f"grep -l {result['id']} {STATE}/jobs/archive/gitlab_backup.*/job.json | wc -l") == "1"
    assert host.sh(f"ls {BACKUPS}").split() == [f"{result['id']}_gitlab_backup.tar"]
    assert host.verified(result["id"])["verified"]


def test_a_lost_connection_is_survived(host: Host, tmp_path: Path) -> None:
    with host.pg_dump(SLOW), host.playing(tmp_path, "gitlab_backup", id="lost") as (process, output):
        host.wait_until(lambda: "pg_dump" in host.processes())
        host.sh("mv /usr/sbin/sshd /root/sshd; pkill -KILL sshd; sleep 4; mv /root/sshd /usr/sbin/sshd")
        host.wait_until(lambda: process.poll() is not None, 120)
    assert process.returncode == 0, output.read_text()
    assert "connection lost, the work goes on" in output.read_text()
    assert host.verified("lost")["verified"]


def test_a_backup_that_ended_while_nobody_watched_is_taken_over(host: Host, tmp_path: Path) -> None:
    with host.pg_dump(SLOW), host.playing(tmp_path, "gitlab_backup") as (process, _output):
        host.wait_until(lambda: "pg_dump" in host.processes())
        kill_controller(process, tmp_path)
        host.wait_until(lambda: not host.processes(), 90)

    result = host.run("gitlab_backup")

    assert not result["failed"], result
    assert host.sh(f"grep -l {result['id']} {STATE}/jobs/archive/gitlab_backup.*/job.json | wc -l") == "1"
    assert host.sh(f"ls {BACKUPS}").split() == [f"{result['id']}_gitlab_backup.tar"]


def test_a_killed_backup_is_a_failure_and_the_next_run_ends_right(host: Host, tmp_path: Path) -> None:
    with host.pg_dump(SLOW), host.playing(tmp_path, "gitlab_backup", id="killed") as (process, output):
        host.wait_until(lambda: "pg_dump" in host.processes())
        host.sh("pkill -KILL -f '[g]itlab:backup:create'; pkill -KILL -f '[p]g_dump' || true")
        host.wait_until(lambda: process.poll() is not None, 120)
    assert process.returncode == 2, output.read_text()
    assert "is not to be used" in output.read_text()
    assert staged(host) == []
    host.refused("killed")

    assert not host.made(id="killed")["failed"]
    assert host.verified("killed")["verified"]


def test_a_killed_verification_proves_nothing_and_the_next_run_ends_right(host: Host, tmp_path: Path) -> None:
    host.made(id="halfway", database_only=True)
    # It cannot get on, since it waits for somebody to write into what it reads.
    host.sh(f"mv {host.archive('halfway')} /root/halfway.tar; mkfifo {host.archive('halfway')}")
    with host.playing(tmp_path, "backup_verify", id="halfway") as (process, output):
        host.wait_until(lambda: "_backup_worker" in host.processes())
        host.refused("halfway")
        host.sh("pkill -KILL -f '[_]backup_worker'")
        host.wait_until(lambda: process.poll() is not None, 60)
    assert process.returncode == 2, output.read_text()
    assert "could not be read" in output.read_text()
    host.refused("halfway")
    host.sh(f"mv /root/halfway.tar {host.archive('halfway')}")
    assert host.verified("halfway")["verified"]


def test_a_killed_proof_is_put_back_and_says_nothing_against_the_backup(host: Host, tmp_path: Path) -> None:
    host.made(id="proof", database_only=True)
    host.verified("proof")
    before = host.sh("ls -A /var/opt/gitlab")
    with host.playing(tmp_path, "backup_prove", id="proof") as (process, output):
        host.wait_until(
            lambda: (
                "initdb" in host.sh("pgrep -af '[i]nitdb|[l]isten_addresses=' || true") or "listen" in host.processes()
            )
        )
        host.sh("pkill -TERM -f '^/bin/sh -c .*put_back' || true")
        host.wait_until(lambda: process.poll() is not None, 60)
    assert process.returncode == 2, output.read_text()
    assert "says nothing against the backup" in output.read_text()
    assert host.sh("ls -A /var/opt/gitlab") == before
    assert not host.run("backup_prove", id="proof")["failed"]
    assert host.sh("ls -A /var/opt/gitlab") == before
