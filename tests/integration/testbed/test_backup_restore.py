# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup and restore of the mini GitLab are GitLab's: words, members, exit codes, and what they lose (root).

The words of 14.9, 15.5, 16.6 and 18.6 are those of transcripts that administrators published; the application behaves as that version for them.
"""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Host, build

BACKUPS = "/var/opt/gitlab/backups"
PID_FILE = "/opt/gitlab/embedded/service/gitlab-rails/tmp/backup_restore.pid"
UPLOADS = "/var/opt/gitlab/gitlab-rails/uploads"
IMAGES = {"old": "gitlab-14.0.12", "middle": "gitlab-16.3.9", "new": "gitlab-17.11.7-two-databases"}

FILES_OF_16_6 = (
    ("uploads", "uploads"),
    ("builds", "builds"),
    ("artifacts", "artifacts"),
    ("pages", "pages"),
    ("lfs objects", "lfs"),
    ("terraform states", "terraform_state"),
    ("packages", "packages"),
    ("ci secure files", "ci_secure_files"),
)

CREATE_14_9 = """\
TIME +0000 -- Dumping database ...
Dumping PostgreSQL database gitlabhq_production ... [DONE]
TIME +0000 -- done
TIME +0000 -- Dumping repositories ...
TIME +0000 -- done
TIME +0000 -- Dumping uploads ...
TIME +0000 -- [SKIPPED]
TIME +0000 -- Dumping builds ...
TIME +0000 -- done
TIME +0000 -- Dumping artifacts ...
TIME +0000 -- done
TIME +0000 -- Dumping pages ...
TIME +0000 -- done
TIME +0000 -- Dumping lfs objects ...
TIME +0000 -- done
TIME +0000 -- Dumping terraform states ...
TIME +0000 -- done
TIME +0000 -- Dumping container registry images ...
TIME +0000 -- [DISABLED]
TIME +0000 -- Dumping packages ...
TIME +0000 -- done
Creating backup archive: ID_gitlab_backup.tar ... done
Uploading backup archive to remote storage  ... skipped
Deleting tmp directories ... done
done
done
done
done
done
done
done
done
Deleting old backups ... skipping
Warning: Your gitlab.rb and gitlab-secrets.json files contain sensitive data
and are not included in this backup. You will need these files to restore a backup.
Please back them up manually.
Backup task is done.
"""

DATABASE_15_5 = """\
TIME UTC -- Dumping main_database ...
Dumping PostgreSQL database gitlabhq_production ... [DONE]
TIME UTC -- Dumping main_database ... done
TIME UTC -- Dumping ci_database ... [DISABLED]
"""

DATABASE_16_6 = """\
TIME UTC -- Dumping database ...
Dumping PostgreSQL database gitlabhq_production ... [DONE]
TIME UTC -- Dumping database ... done
"""

DATABASE_18_6 = """\
TIME UTC -- Dumping database ...
TIME UTC -- Dumping PostgreSQL database gitlabhq_production ...
TIME UTC -- [DONE]
TIME UTC -- Dumping database ... done
"""

MISMATCH = """\
GitLab version mismatch:
  Your current GitLab version (16.3.9-ee) differs from the GitLab version in the backup!
  Please switch to the following version and try again:
  version: 16.3.8-ee

Hint: git checkout v16.3.8-ee
"""


@pytest.fixture(scope="module")
def hosts(repository: Path) -> t.Iterator[dict[str, Host]]:
    fleet = f"backup-{os.getpid()}"
    every = {name: Host(fleet, name) for name in IMAGES}
    for name, image in IMAGES.items():
        every[name].fleet("up", name, "--image", *build("image", image), "--bind", f"{repository}:{REPOSITORY}")
    try:
        for host in every.values():
            host.await_readiness()
            host("gitlab-ctl stop puma; gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed_data[2]'")
        yield every
    finally:
        every["old"].fleet("down")


@pytest.fixture(params=["old", "new"])
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> t.Iterator[Host]:
    """The oldest and the newest kind, without an archive."""
    yield from _tidied(hosts[request.param])


@pytest.fixture
def old(hosts: dict[str, Host]) -> t.Iterator[Host]:
    yield from _tidied(hosts["old"])


@pytest.fixture
def middle(hosts: dict[str, Host]) -> t.Iterator[Host]:
    yield from _tidied(hosts["middle"])


@pytest.fixture
def new(hosts: dict[str, Host]) -> t.Iterator[Host]:
    yield from _tidied(hosts["new"])


def _tidied(host: Host) -> t.Iterator[Host]:
    host(f"rm -rf {BACKUPS}/* {PID_FILE}")
    yield host


def words(output: str) -> str:
    """Without what is another one each time, and without blanks at the ends of lines."""
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", output)
    output = re.sub(r"\d{10}_\d{4}_\d\d_\d\d_[\d.]+-ee", "ID", output)
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


def holdings(host: Host) -> dict[str, str]:
    """What the instance holds: name of the part or table to count and digest."""
    lines = host("gitlab-rake mini_gitlab:data_digest").splitlines()
    return {line.removeprefix("table ").split()[0]: line for line in lines}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


def members(host: Host) -> list[str]:
    return host(f"tar -tf {BACKUPS}/*_gitlab_backup.tar").splitlines()


def archives(host: Host) -> list[str]:
    return sorted(host(f"ls {BACKUPS}").split())


def as_version(version: str, command: str) -> str:
    return f"MINI_GITLAB_BEHAVE_AS={version} {command}"


# What an archive holds


def test_a_restore_brings_back_what_the_version_backs_up_and_nothing_else(host):
    before = holdings(host)
    host("gitlab-backup create")
    host(f"gitlab-rake 'mini_gitlab:seed_data[1]'; rm -r {UPLOADS}/-; find /var/opt/gitlab/git-data -name main -delete")
    host.sql("DELETE FROM users WHERE username = 'root'")
    damaged = changed(before, holdings(host))
    assert {"repositories", "uploads", "main.users", "main.projects", "packages"} <= damaged

    restored = host.run("gitlab-backup restore force=yes")
    assert restored.returncode == 0, restored.stderr
    assert "Restore task is done." in restored.stdout
    never_in_14_0 = {"terraform_state", "packages", "ci_secure_files", "external_diffs"}
    expected = never_in_14_0 if host.installed()[1].startswith("14.0") else set()
    assert changed(before, holdings(host)) == expected
    assert [name for name in archives(host) if not name.endswith(".tar")] in ([], ["tmp"])


def test_archive_of_14_0(old):
    old("gitlab-backup create")
    assert re.fullmatch(r"\d{10}_\d{4}_\d\d_\d\d_14\.0\.12-ee_gitlab_backup\.tar", archives(old)[0])
    assert old(f"stat -c '%a %U' {BACKUPS} {BACKUPS}/*") == "700 git\n600 git"
    assert [name for name in members(old) if "/" not in name] == [
        *(f"{name}.tar.gz" for name in ("uploads", "builds", "artifacts", "pages", "lfs")),
        "backup_information.yml",
    ]
    assert "db/database.sql.gz" in members(old)
    information = old(f"tar -xOf {BACKUPS}/*.tar backup_information.yml").splitlines()
    assert information[0].startswith(":db_version: '2021")
    assert information[2] == ":gitlab_version: 14.0.12-ee"
    assert information[-1] == ":skipped:"
    dump = old(f"tar -xOf {BACKUPS}/*.tar db/database.sql.gz | gzip -cd")
    assert "DROP TABLE IF EXISTS public.projects;" in dump
    assert "-- PostgreSQL database dump complete" in dump


def test_archive_of_17_11_with_two_databases(new):
    output = new("gitlab-backup create SKIP=lfs")
    assert "Dumping PostgreSQL database gitlabhq_production_ci ..." in output
    assert "Dumping lfs objects ... [SKIPPED]" in output
    top = (
        "uploads",
        "builds",
        "artifacts",
        "pages",
        "terraform_state",
        "packages",
        "ci_secure_files",
        "external_diffs",
    )
    found = members(new)
    assert found[:2] == ["backup_information.yml", "db/"]
    assert {"db/database.sql.gz", "db/ci_database.sql.gz"} <= set(found)
    assert [name for name in found if name.endswith(".tar.gz")] == [f"{name}.tar.gz" for name in top]
    assert sum(name.endswith("001.bundle") for name in found) == 2
    assert ":skipped: lfs" in new(f"tar -xOf {BACKUPS}/*.tar backup_information.yml").splitlines()


def test_two_connections_to_one_database_are_dumped_once(middle):
    output = middle("gitlab-backup create")
    assert output.count("Dumping PostgreSQL database") == 1
    assert [name for name in members(middle) if name.startswith("db/")] == ["db/", "db/database.sql.gz"]
    assert "!ruby/object:ActiveSupport::TimeWithZone" in middle(f"tar -xOf {BACKUPS}/*.tar backup_information.yml")
    restored = middle("gitlab-backup restore force=yes")
    assert "Source backup for the database ci doesn't exist. Skipping the task" in restored


def test_registry_changes_its_owner_for_a_restore(middle):
    folder = "/var/opt/gitlab/gitlab-rails/shared/registry"
    middle(
        "echo \"registry_external_url 'http://registry.example.com'\" >> /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure"
    )
    middle(f"install -o registry -g git -m 640 /dev/null {folder}/blob; gitlab-backup create SKIP=repositories")
    assert "registry.tar.gz" in members(middle)
    lines = middle("gitlab-backup restore force=yes").splitlines()
    assert lines[0] == f"Transfering ownership of {folder} to git"
    assert lines[-1] == f"Transfering ownership of {folder} to registry"
    assert middle(f"stat -c %U {folder} {folder}/blob") == "registry\nregistry"
    middle("sed -i /registry_external_url/d /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure")


def test_incremental_backup_adds_to_the_one_before(new):
    new("gitlab-backup create")
    first = archives(new)[0].removesuffix("_gitlab_backup.tar")
    repository = new("find /var/opt/gitlab/git-data -name '*.git' | sort | head -n 1")
    git = f"chpst -u git git -C {repository} -c user.name=a -c user.email=a@example.com"
    head = new(f"{git} rev-parse main")
    new(f"{git} update-ref refs/heads/main $({git} commit-tree -p main -m more 'main^{{tree}}')")
    newer = new(f"{git} rev-parse main")
    assert newer != head
    new(f"gitlab-backup create INCREMENTAL=yes PREVIOUS_BACKUP={first}")
    second = archives(new)[1].removesuffix("_gitlab_backup.tar")
    information = new(f"tar -xOf {BACKUPS}/{second}_gitlab_backup.tar backup_information.yml").splitlines()
    assert f":full_backup_id: {first}" in information
    listed = new(f"tar -tf {BACKUPS}/{second}_gitlab_backup.tar").splitlines()
    assert sum(name.endswith("002.bundle") for name in listed) == 1
    new(f"{git} update-ref refs/heads/main {head}")
    new(f"gitlab-backup restore force=yes BACKUP={second}")
    assert new(f"{git} rev-parse main") == newer


# Words


def test_words_of_14_9(middle):
    assert words(middle(as_version("14.9.5", "gitlab-backup create SKIP=uploads"))) == CREATE_14_9


@pytest.mark.parametrize(
    ("version", "expected"),
    [("15.5.0", DATABASE_15_5), ("18.6.2", DATABASE_18_6)],
)
def test_words_about_databases(middle, version, expected):
    skip = "SKIP=tar,repositories,uploads,builds,artifacts,pages,lfs,terraform_state,packages,ci_secure_files,external_diffs"
    said = words(middle(as_version(version, f"gitlab-backup create {skip}")))
    assert said[: said.index("TIME UTC -- Dumping repositories")] == expected


def test_words_of_16_6(middle):
    parts = [
        f"TIME UTC -- Dumping {title} ... {end}".rstrip() for title, _name in FILES_OF_16_6 for end in ("", "done")
    ]
    parts.insert(12, "TIME UTC -- Dumping container registry images ... [DISABLED]")
    staged = ["backup_information.yml", "db", "repositories", *(f"{name}.tar.gz" for _title, name in FILES_OF_16_6)]
    tail = [
        "TIME UTC -- Creating backup archive: ID_gitlab_backup.tar ...",
        "TIME UTC -- Creating backup archive: ID_gitlab_backup.tar ... done",
        "TIME UTC -- Uploading backup archive to remote storage  ... [SKIPPED]",
        "TIME UTC -- Deleting old backups ... [SKIPPED]",
        "TIME UTC -- Deleting tar staging files ...",
        *(f"TIME UTC -- Cleaning up {BACKUPS}/{name}" for name in staged),
        "TIME UTC -- Deleting tar staging files ... done",
        "TIME UTC -- Deleting backups/tmp ...",
        "TIME UTC -- Deleting backups/tmp ... done",
        "TIME UTC -- Warning: Your gitlab.rb and gitlab-secrets.json files contain sensitive data",
        "and are not included in this backup. You will need these files to restore a backup.",
        "Please back them up manually.",
        "TIME UTC -- Backup ID is done.",
        "TIME UTC -- Deleting backup and restore PID file ... done",
    ]
    repositories = ["TIME UTC -- Dumping repositories ...", "TIME UTC -- Dumping repositories ... done"]
    said = words(middle(as_version("16.6.0", "gitlab-backup create"))).splitlines()
    assert said == [*DATABASE_16_6.splitlines(), *repositories, *parts, *tail]


def test_cron_says_nothing(new):
    quiet = new.run("gitlab-backup create CRON=1 SKIP=repositories")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert len(archives(new)) == 1


# What goes wrong


def test_unreadable_uploads_are_left_behind_and_only_new_versions_fail(host):
    host(f"mkdir {UPLOADS}/closed; chmod 0 {UPLOADS}/closed")
    done = host.run("gitlab-backup create")
    host(f"rmdir {UPLOADS}/closed")
    tarball = f"{BACKUPS}/uploads.tar.gz"
    message = f"Failed to create compressed file '{tarball}' when trying to backup the following paths: '{UPLOADS}' "
    if host.installed()[1].startswith("14.0"):
        assert message in done.stdout.splitlines()
        assert "Backup task is done." in done.stdout
        assert done.returncode == 0
    else:
        assert f" -- Dumping uploads failed: {message}\n" in done.stdout
        assert "-ee is done.\n" in done.stdout
        assert done.returncode == 1
    assert "builds.tar.gz" in members(host)


def test_a_dump_that_fails_is_still_packed(middle):
    program = "/opt/gitlab/embedded/bin/pg_dump"
    middle(
        f"rm {program}; printf '#!/bin/sh\\necho pg_dump: error: aborting >&2\\nexit 1\\n' > {program}; chmod 755 {program}"
    )
    done = middle.run("gitlab-backup create")
    middle(f"ln -sf /usr/lib/postgresql/15/bin/pg_dump {program}")
    assert "Dumping PostgreSQL database gitlabhq_production ... [FAILED]" in done.stdout
    assert f"Dumping database failed: Failed to create compressed file '{BACKUPS}/db/database.sql.gz'" in done.stdout
    place = "\n - host: '/var/opt/gitlab/postgresql'\n - port: '5432'\n - database: 'gitlabhq_production'\n"
    assert place in done.stdout
    assert done.returncode == 0, "16.3 is older than the exit code for failed parts"
    assert middle(f"tar -xOf {BACKUPS}/*.tar db/database.sql.gz | gzip -cd | wc -c") == "0"


def test_a_version_that_does_not_fit(middle):
    middle("gitlab-backup create BACKUP=other SKIP=repositories,uploads")
    middle(
        f"cd {BACKUPS} && tar -xf *.tar && sed -i s/16.3.9-ee/16.3.8-ee/ backup_information.yml"
        " && tar -cf other_gitlab_backup.tar backup_information.yml db && rm -r backup_information.yml db *.gz; chown git *"
    )
    refused = middle.run("gitlab-backup restore force=yes")
    assert refused.returncode == 1
    assert MISMATCH in refused.stdout
    verified = middle.run(as_version("16.10.0", "gitlab-rake gitlab:backup:verify"))
    assert verified.returncode == 1
    assert MISMATCH in verified.stdout


def test_verify_says_that_a_version_fits(new):
    new("gitlab-backup create SKIP=repositories")
    said = new("gitlab-rake gitlab:backup:verify")
    fits = "  Your current GitLab version (17.11.7-ee) matches the GitLab version in the backup.\n"
    assert f"GitLab version matches:\n{fits}" in said
    assert len(archives(new)) == 1, "nothing stays unpacked"


def test_which_backup(new):
    none = new.run("gitlab-backup restore force=yes")
    assert none.returncode == 1
    assert f"No backups found in {BACKUPS}\n" in none.stdout
    new(f"touch {BACKUPS}/a_gitlab_backup.tar {BACKUPS}/b_gitlab_backup.tar; chmod 0 {BACKUPS}/a_gitlab_backup.tar")
    several = new.run("gitlab-backup restore force=yes")
    assert several.returncode == 1
    assert re.search(r"Found more than one backup:\n.* a\n.* b\n.*Please specify which one", several.stdout)
    missing = new.run("gitlab-backup restore force=yes BACKUP=c")
    assert missing.returncode == 1
    assert "The backup file c_gitlab_backup.tar does not exist!" in missing.stdout
    closed = new.run("gitlab-backup restore force=yes BACKUP=a")
    assert closed.returncode == 1
    assert "tar: a_gitlab_backup.tar: Cannot open: Permission denied" in closed.stderr
    assert "npacking backup failed" in closed.stdout


def test_questions(host):
    host("gitlab-backup create SKIP=repositories")
    silent = host.run("gitlab-backup restore < /dev/null")
    assert silent.returncode == 1
    assert "NoMethodError: undefined method `chomp' for nil:NilClass" in silent.stderr
    unpacked = "backup_information.yml" in archives(host)
    assert unpacked is host.installed()[1].startswith("14.0"), "only old versions leave an aborted restore unpacked"
    refused = host.run("printf 'perhaps\\nno\\n' | gitlab-backup restore")
    assert refused.returncode == 1
    assert refused.stdout.count("Do you want to continue (yes/no)? ") == 2
    assert "Quitting..." in refused.stdout
    assert ("Non tarred backup found in" in refused.stdout) is unpacked
    assert "Cleaning the database" not in refused.stdout


def test_errors_in_the_schema_are_asked_about_and_force_does_not_answer(middle):
    middle("gitlab-backup create SKIP=repositories,uploads")
    middle.sql("CREATE TYPE newer AS ENUM ('a')")
    middle(
        f"cd {BACKUPS} && tar -xf *.tar && rm *.tar && gzip -d db/database.sql.gz"
        " && echo \"CREATE TYPE public.newer AS ENUM ('a');\" >> db/database.sql && gzip db/database.sql && chown -R git db"
    )
    asked = middle.run("echo no | gitlab-backup restore force=yes SKIP=tar")
    assert asked.returncode == 1
    assert "------ BEGIN ERRORS -----\n" in asked.stdout
    assert 'ERROR:  type "newer" already exists' in asked.stderr
    assert "There were errors in restoring the schema." in asked.stdout
    passed = middle.run("GITLAB_ASSUME_YES=1 gitlab-backup restore force=yes")
    assert passed.returncode == 0
    assert "There were errors in restoring the schema." in passed.stdout
    middle.sql("DROP TYPE newer")


def test_one_at_a_time(middle):
    middle(f"echo 1 > {PID_FILE}; chown git {PID_FILE}")
    busy = middle.run("gitlab-backup create")
    assert busy.returncode == 1
    assert busy.stdout == (
        "Backup and restore in progress:\n  There is a backup and restore task in progress (PID 1).\n"
        "  Try to run the current task once the previous one ends.\n"
    )
    middle(f"echo 999999 > {PID_FILE}")
    assert "the process is not running" in middle("gitlab-backup create SKIP=repositories")
    middle(f"echo 999999 > {PID_FILE}; chown git {PID_FILE}")
    first_form = middle.run(as_version("15.11.13", "gitlab-backup create"))
    assert first_form.returncode == 1, "the first lock did not look for the process"
    assert f"please remove the PID file manually: rm {PID_FILE}" in first_form.stdout


# Choices


def test_copies_first(new):
    new("gitlab-backup create STRATEGY=copy SKIP=repositories")
    listed = new(f"tar -xOf {BACKUPS}/*.tar uploads.tar.gz | tar -tzf - | sort | head -n 2").splitlines()
    assert listed == ["./", "./-/"]
    assert len(archives(new)) == 1


def test_only_dated_archives_are_deleted_when_they_are_old(middle):
    middle("echo \"gitlab_rails['backup_keep_time'] = 3600\" >> /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure")
    dated, named = "1600000000_2020_09_13_16.3.9-ee_gitlab_backup.tar", "before_gitlab_backup.tar"
    middle(f"touch -d 2020-09-13 {BACKUPS}/{dated} {BACKUPS}/{named}; chown git {BACKUPS}/*")
    said = middle("gitlab-backup create BACKUP=mine SKIP=repositories")
    middle("sed -i /backup_keep_time/d /etc/gitlab/gitlab.rb; gitlab-ctl reconfigure")
    assert "Deleting old backups ... done. (1 removed)" in said
    assert archives(middle) == [named, "mine_gitlab_backup.tar"]


def test_variables_for_the_way_round_pgbouncer(new):
    failed = new.run("gitlab-backup create SKIP=repositories GITLAB_BACKUP_PGHOST=127.0.0.1")
    assert 'connection to server at "127.0.0.1"' in failed.stderr
    assert "[FAILED]" in failed.stdout


def test_those_variables_had_no_effect_for_a_while(middle):
    assert "[DONE]" in middle("gitlab-backup create SKIP=repositories GITLAB_BACKUP_PGHOST=127.0.0.1")


def test_single_parts(new):
    new("gitlab-rake gitlab:backup:uploads:create")
    assert archives(new) == ["uploads.tar.gz"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [("export", 1, "Unknown command: export"), ("-x create", 1, "Unsupported option: -x"), ("--help", 0, "")],
)
def test_wrapper(old, arguments, code, said):
    called = old.run(f"gitlab-backup {arguments}")
    assert (called.returncode, called.stderr.strip()) == (code, said)


def test_wrapper_lets_a_value_with_blanks_fall_apart(old):
    called = old.run("gitlab-backup create 'BACKUP=before the upgrade'")
    assert called.returncode == 1
    assert "Don't know how to build task 'the'" in called.stderr
