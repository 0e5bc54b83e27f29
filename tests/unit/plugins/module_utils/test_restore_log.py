# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _restore_log as rl

# The lines of lib/backup/manager.rb and lib/backup/database.rb of 16.6, and of 14.0.
NEWER = """\
Transfering ownership of /var/opt/gitlab/gitlab-rails/shared/registry to git
2023-11-21 03:10:00 UTC -- Unpacking backup ... \n2023-11-21 03:10:01 UTC -- Unpacking backup ... done
2023-11-21 03:10:01 UTC -- Restoring database ... \n2023-11-21 03:10:01 UTC -- Be sure to stop Puma, Sidekiq, and any other process that
connects to the database before proceeding.
Removing all tables. Press `Ctrl-C` within 5 seconds to abort
2023-11-21 03:10:06 UTC -- Cleaning the database ... \n2023-11-21 03:10:07 UTC -- done
Restoring PostgreSQL database gitlabhq_production ... SET
ALTER TABLE
COPY 42
ERROR:  must be owner of extension pg_trgm
ERROR:  must be owner of extension btree_gist
[DONE]
Source backup for the database ci doesn't exist. Skipping the task
2023-11-21 03:10:20 UTC -- Restoring database ... done
2023-11-21 03:10:20 UTC -- Restoring repositories ... \n2023-11-21 03:10:25 UTC -- Restoring repositories ... done
2023-11-21 03:10:25 UTC -- Restoring uploads ... \n2023-11-21 03:10:25 UTC -- Restoring uploads ... done
2023-11-21 03:10:25 UTC -- Restoring container registry images ... [DISABLED]
2023-11-21 03:10:26 UTC -- Restoring ci secure files ... [SKIPPED]
This task will now rebuild the authorized_keys file.
You will lose any data stored in the authorized_keys file.
2023-11-21 03:10:27 UTC -- Restore task is done.
2023-11-21 03:10:27 UTC -- Deleting backup and restore PID file ... done
"""
OLDER = """\
Unpacking backup ... done
Be sure to stop Puma, Sidekiq, and any other process that
Removing all tables. Press `Ctrl-C` within 5 seconds to abort
2022-01-25 20:25:16 +0000 -- Cleaning the database ... \n2022-01-25 20:25:17 +0000 -- done
2022-01-25 20:25:17 +0000 -- Restoring database ... \nRestoring PostgreSQL database gitlabhq_production ... SET
COPY 42
[DONE]
2022-01-25 20:25:19 +0000 -- done
2022-01-25 20:25:19 +0000 -- Restoring repositories ...
 * root/project (@hashed/6b/86/6b86) ... [DONE]
2022-01-25 20:25:20 +0000 -- done
2022-01-25 20:25:20 +0000 -- Restoring uploads ... \n2022-01-25 20:25:20 +0000 -- done
2022-01-25 20:25:20 +0000 -- Restoring lfs objects ... \n2022-01-25 20:25:20 +0000 -- [SKIPPED]
Deleting tmp directories ... done
done
Restore task is done.
"""
SCHEMA = """\
2022-01-25 20:25:17 +0000 -- Restoring database ... \n------ BEGIN ERRORS -----
ERROR:  function public.table_sync_function_0992e728d3() does not exist
ERROR:  relation "some_view" already exists
ERROR:  must be owner of extension pg_trgm
------ END ERRORS -------
There were errors in restoring the schema. This may cause
issues if this results in missing indexes, constraints, or
2022-01-25 20:25:19 +0000 -- done
Restore task is done.
"""


def read(text: str) -> rl.Log:
    return rl.read(text.splitlines(keepends=True))


def outcomes(log: rl.Log) -> dict[str, str]:
    assert len({part.label for part in log.parts}) == len(log.parts)
    return {part.label: part.outcome for part in log.parts}


def test_a_restore_of_newer_versions() -> None:
    log = read(NEWER)
    assert outcomes(log) == {
        "database": rl.DONE,
        "repositories": rl.DONE,
        "uploads": rl.DONE,
        "container registry images": rl.SKIPPED,
        "ci secure files": rl.SKIPPED,
    }
    assert (log.finished, log.failures, log.schema_errors, log.current) == (True, (), (), None)


def test_a_restore_of_older_versions() -> None:
    log = read(OLDER)
    assert outcomes(log) == {
        "database": rl.DONE,
        "repositories": rl.DONE,
        "uploads": rl.DONE,
        "lfs objects": rl.SKIPPED,
    }
    assert (log.finished, log.failures, log.schema_errors) == (True, (), ())


def test_errors_of_the_schema_are_seen_though_nobody_was_asked() -> None:
    log = read(SCHEMA)
    assert log.schema_errors == ('ERROR:  relation "some_view" already exists',)
    assert log.finished


@pytest.mark.parametrize(
    "line",
    [
        "No backups found in /var/opt/gitlab/backups",
        "The backup file /var/opt/gitlab/backups/X_gitlab_backup.tar does not exist!",
        "tar: X_gitlab_backup.tar: Cannot open: Permission denied",
        "2023-11-21 03:10:00 UTC -- Unpacking backup failed",
        "Unpacking backup ... unpacking backup failed",
        "tar: db/database.sql.gz: Wrote only 4096 of 10240 bytes",
        "2023-11-21 03:10:00 UTC -- GitLab version mismatch:",
        "Source database file does not exist /var/opt/gitlab/backups/db/database.sql.gz",
        "rake aborted!",
        "Backup::Error: Restore failed",
        "Errno::ENOSPC: No space left on device @ io_write - /var/opt/gitlab/gitlab-rails/uploads/x",
        "gzip: stdout: No space left on device",
        "Insufficient disk space in /var/opt/gitlab/backups: 1 bytes available, estimated 3 bytes required.",
        "  There is a backup and restore task in progress (PID 1234).",
        "[FAILED]",
    ],
)
def test_what_went_wrong_is_told(line: str) -> None:
    log = read(f"2023-11-21 03:10:01 UTC -- Restoring uploads ... \n{line}\n")
    assert len(log.failures) == 1
    assert (log.finished, log.current) == (False, "uploads")


@pytest.mark.parametrize("text", [NEWER, OLDER, SCHEMA])
def test_a_log_that_breaks_off_is_not_finished(text: str) -> None:
    lines = text.splitlines(keepends=True)
    for last in range(len(lines)):
        cut = read("".join(lines[:last]))
        assert cut.finished == any("Restore task is done." in line for line in lines[:last])


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert not read(text).finished


def test_an_error_at_the_beginning_of_a_long_log_is_not_lost(tmp_path: Path) -> None:
    log, errors = tmp_path / "log", tmp_path / "errors"
    with log.open("w") as file:
        file.write(SCHEMA)
        for number in range(300_000):
            file.write(f"2022-01-25 20:25:20 +0000 --  * group/project-{number} ... [DONE]\n")
    errors.write_bytes(b"ERROR:  no \xff\n")
    found = rl.read_files(str(log), str(errors), str(tmp_path / "none"))
    assert found.schema_errors == ('ERROR:  relation "some_view" already exists', "ERROR:  no \ufffd")
    assert found.finished


def test_of_countless_errors_the_first_ones_are_kept_and_the_rest_is_counted() -> None:
    found = rl.read(f"ERROR:  {number}\n" for number in range(rl.MOST + 5) for _twice in range(2))
    assert found.schema_errors[:2] == ("ERROR:  0", "ERROR:  1")
    assert found.schema_errors[-1] == "and 10 more"
    assert len(found.schema_errors) == rl.MOST + 1


@pytest.mark.parametrize(
    ("text", "parts", "database_only", "lacking"),
    [
        (NEWER, ["db", "repositories", "uploads"], False, []),
        (OLDER, ["db", "repositories", "uploads", "manifests"], False, []),
        (OLDER, ["db", "lfs"], False, ["lfs: skipped"]),
        (NEWER, ["db", "registry", "ci_secure_files"], False, ["registry: skipped", "ci_secure_files: skipped"]),
        (NEWER, ["db", "pages"], False, ["pages: not a word"]),
        (NEWER, ["db", "pages", "registry"], True, []),
        ("Restoring repositories ... done\nRestore task is done.\n", ["db", "repositories"], True, ["db: not a word"]),
        ("Restoring main_database ... done\nRestoring ci_database ... [DISABLED]\n", ["db"], False, []),
        ("Restoring main_database ... done\nRestoring ci_database ... \n", ["db"], False, ["db: done and running"]),
        ("Restoring database ... done\nRestoring uploads ... \n", ["db", "uploads"], False, ["uploads: running"]),
        ("", ["db"], False, ["db: not a word"]),
    ],
)
def test_every_part_of_the_backup_must_have_been_restored(
    text: str, parts: list[str], database_only: bool, lacking: list[str]
) -> None:
    assert read(text).not_done(parts, database_only) == lacking


NOTICE = """\
rake aborted!

### NOTICE ###
As part of restore, the task tried to move existing content from /srv/uploads.
However, it seems that directory contains files/folders that are not owned
by the user git.

/opt/gitlab/embedded/service/gitlab-rails/lib/backup/helper.rb:10:in `access_denied_error'
"""


@pytest.mark.parametrize("end", ["", NOTICE.splitlines()[2] + "\n", "\n"])
def test_a_notice_is_told_as_a_whole(end: str) -> None:
    told = (
        "As part of restore, the task tried to move existing content from /srv/uploads. However, it seems that directory contains"
        " files/folders that are not owned by the user git."
    )
    cut = "\n".join(NOTICE.splitlines()[:6]) + f"\n{end}"
    for text in (NOTICE, cut):
        assert read(text).failures == ("rake aborted!", told)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (NEWER, ["repositories", "uploads"]),
        (
            "Restoring main_database ... done\nRestoring ci_database ... [SKIPPED]\nRestoring repositories ... [SKIPPED]\n",
            [],
        ),
        ("Restoring database ... done\nRestoring lfs objects ... \n", ["lfs"]),
    ],
)
def test_which_files_were_restored(text: str, names: list[str]) -> None:
    assert read(text).files() == names


def test_snippets_that_the_restore_removed_are_counted() -> None:
    lines = "".join(
        f"2023-11-21 03:10:24 UTC -- Snippet {path} can't be restored: Repository is empty\n"
        for path in ("snippets/1", "a/b/snippets/2", "snippets/1")
    )
    assert (read(lines).removed_snippets, read(lines).failures, read(NEWER).removed_snippets) == (2, (), 0)
