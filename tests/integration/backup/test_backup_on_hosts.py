# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup is made, proven, copied and removed on the mini GitLab, by a real ansible-playbook over real SSH."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from pathlib import Path

import pytest
from backing_up import BACKUPS, STATE, Host
from instances import Instances

PROJECTS = 4


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("backup") as instances:
        instances.up({"old": "gitlab-14.0.12", "two": "gitlab-17.8.7-two-databases"})
        for name in ("old", "two"):
            instances.sh(name, f"cd /; gitlab-rake 'mini_gitlab:seed_data[{PROJECTS}]'")
        yield instances


@pytest.fixture(params=["old", "two"])
def host(fleet: Instances, request: pytest.FixtureRequest) -> Host:
    return Host(fleet, request.param)


@pytest.fixture
def old(fleet: Instances) -> Host:
    return Host(fleet, "old")


def test_check_mode_says_what_would_be_made_and_writes_nothing(host: Host) -> None:
    expected = host.traces()

    result = host.run("gitlab_backup", check=True)

    assert not result["failed"], result
    assert result["changed"]
    assert [command[0].rsplit("/", 1)[-1] for command in result["commands"]] == ["gitlab-ctl", "gitlab-backup"]
    assert f"BACKUP={result['id']}" in result["commands"][1]
    assert result["space"]["needed"] > 0
    assert "tables" in result["space"]["basis"]
    assert host.traces() == expected


def test_a_backup_is_made_once_and_verified(host: Host) -> None:
    made = host.made(id="whole")

    assert made["changed"]
    assert made["archive"] == host.archive("whole")
    assert {part["outcome"] for part in made["parts"]} == {"done", "disabled"}
    assert f"{host.name}  backup  repositories" in host.fleet.output

    result = host.verified("whole", node=host.name)
    manifest = result["manifest"]
    assert result["changed"]
    assert manifest["verified"] is True
    assert json.loads(host.sh(f"cat {result['manifest_path']}")) == manifest
    assert host.sh(f"stat -c %a {result['manifest_path']}") == "600"
    assert host.sh(f"sha256sum {made['archive']} | cut -d' ' -f1") == manifest["archive"]["sha256"]
    assert manifest["skipped"] == ["registry"]
    # Not where gitlab-ctl backup-etc would prune it.
    kept = manifest["configuration"]["path"]
    assert kept.startswith(f"{STATE}/backups/whole/gitlab_config_")
    assert made["configuration"] == kept
    assert host.sh(f"stat -c %a {kept}; ls /etc/gitlab/config_backup") == "600"
    assert [part["name"] for part in manifest["parts"] if not part["size"]] == []
    secrets = host.sh("sha256sum /etc/gitlab/gitlab-secrets.json | cut -d' ' -f1")
    assert manifest["secrets"] == {host.name: secrets}
    for database in manifest["databases"]:
        rows = host.fleet.sql(host.name, "SELECT count(*) FROM projects", database["dbname"])
        assert database["rows"]["public.projects"] == int(rows)
        versions = host.fleet.sql(host.name, "SELECT count(*), max(version) FROM schema_migrations", database["dbname"])
        assert versions == f"{database['schema_migrations']}|{database['newest_schema_migration']}"
    assert [database["name"] for database in manifest["databases"]] == (
        ["main"] if host.name == "old" else ["main", "ci"]
    )

    expected = host.traces()
    again = host.run("gitlab_backup", id="whole")
    assert (again["changed"], again["commands"]) == (False, [])
    assert re.fullmatch("The backup whole was made .* ago, and is not made again.", again["notes"][-1])
    assert host.traces() == expected
    assert not host.verified("whole", node=host.name)["changed"]


def test_a_verified_backup_is_proven_by_loading_it_and_nothing_is_left(host: Host) -> None:
    before = host.sh("ls -A /var/opt/gitlab; pgrep -c -f '[p]ostgres -D'")
    scratch = "/mnt/gitlab_fleet_upgrade_scratch"
    host.sh(f"mkdir {scratch}; echo theirs >{scratch}/file")
    refused = host.run("backup_prove", id="whole", scratch_path="/mnt")
    assert refused["failed"]
    assert "no proof by backup_prove made it" in refused["msg"]
    assert host.sh(f"cat {scratch}/file; rm -r {scratch}") == "theirs"

    result = host.run("backup_prove", id="whole", node=host.name)

    assert not result["failed"], result
    proof = result["proof"]
    assert proof["where"] == host.name
    assert set(proof["databases"]) == ({"main"} if host.name == "old" else {"main", "ci"})
    assert proof["databases"]["main"]["rows"] > PROJECTS
    assert host.sh("ls -A /var/opt/gitlab; pgrep -c -f '[p]ostgres -D'") == before
    assert result["manifest"]["proved_by_restore"] == proof


def test_a_copy_is_taken_up_where_it_stopped_and_has_the_right_checksum(old: Host, tmp_path: Path) -> None:
    planned = old.run("backup_copy", check=True, id="whole", dest=str(tmp_path))
    assert planned["changed"]
    assert not list(tmp_path.iterdir())

    folder = tmp_path / "old" / "whole"
    folder.mkdir(parents=True)
    # Less than a whole piece is brought again.
    (folder / "whole_gitlab_backup.tar.part").write_bytes(b"half")
    result = old.run("backup_copy", id="whole", dest=str(tmp_path))

    assert not result["failed"], result
    assert result["changed"]
    copied = folder / "whole_gitlab_backup.tar"
    assert hashlib.sha256(copied.read_bytes()).hexdigest() == result["manifest"]["archive"]["sha256"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["manifest.json", copied.name, Path(result["manifest"]["configuration"]["path"]).name]
    )
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert [one["path"] for one in result["copies"]] == [str(copied)]
    assert not old.run("backup_copy", id="whole", dest=str(tmp_path))["changed"]
    wrong = old.run("backup_copy", id="whole", copied=[{"host": "x", "path": "/x", "sha256": "ab" * 32}])
    assert wrong["failed"]
    bare = old.run("backup_copy", id="whole", copied=[{"path": "/x", "sha256": "ab" * 32}])
    assert "missing required arguments: host" in bare["msg"]


def test_the_database_alone_is_a_backup_of_its_own(old: Host) -> None:
    made = old.made(id="database", database_only=True)
    manifest = old.verified("database")["manifest"]

    assert [part["name"] for part in manifest["parts"]] == ["db"]
    assert "uploads" in manifest["skipped"]
    assert {part["name"] for part in made["parts"] if part["outcome"] == "done"} == {"db"}
    more = old.run("gitlab_backup", id="database")
    assert more["failed"]
    assert "with these parts only: db; now it is to have all parts" in more["msg"]
    elsewhere = old.run("gitlab_backup", id="elsewhere", backup_path="/mnt")
    assert elsewhere["failed"]
    assert f"would go to {BACKUPS}, which gitlab.yml names" in elsewhere["msg"]
    assert old.sh(f"ls -d {STATE}/backups/elsewhere 2>/dev/null || true") == ""


def test_old_backups_go_and_what_may_be_the_only_way_back_never_does(old: Host) -> None:
    # The whole one is older than it, and the only one that has the files.
    assert not old.run("backup_retention", keep=1)["changed"]
    old.made(id="later", database_only=True)
    old.verified("later")
    old.made(id="unverified", database_only=True)
    planned = old.run("backup_retention", check=True, keep=1)
    assert (planned["changed"], planned["removed"]) == (True, ["database"])
    assert old.sh(f"ls {old.archive('database')}")

    removed = old.run("backup_retention", keep=1)
    assert removed["removed"] == ["database"]
    assert old.sh(f"ls {BACKUPS} {STATE}/backups").count("database") == 0
    assert sorted(removed["kept"]) == ["later", "unverified", "whole"]
    assert not old.run("backup_retention", keep=1, max_age_days=1)["changed"]

    # What has changed is not verified any more: now nothing may go.
    old.sh(f"printf x >>{old.archive('whole')}; printf x >>{old.archive('later')}")
    old.sh(f"touch -d '3 days ago' {STATE}/backups/unverified/run.json")
    assert not old.run("backup_retention", max_age_days=1)["changed"]
    assert old.sh(f"ls {old.archive('unverified')}")


def test_a_backup_that_is_not_there_or_is_not_ours(old: Host) -> None:
    missing = old.run("backup_verify", id="nothing")
    assert missing["failed"]
    assert "No such file" in missing["msg"]

    old.sh(f"echo theirs >{old.archive('theirs')}")
    refused = old.run("gitlab_backup", id="theirs")
    assert refused["failed"]
    assert "did not make it" in refused["msg"]
    assert old.sh(f"cat {old.archive('theirs')}") == "theirs"
