# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

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


def outcomes(log: rl.Log) -> dict[str, str]:
    assert len({part.label for part in log.parts}) == len(log.parts)
    return {part.label: part.outcome for part in log.parts}


def test_a_restore_of_newer_versions() -> None:
    log = rl.read(NEWER)
    assert outcomes(log) == {
        "database": rl.DONE,
        "repositories": rl.DONE,
        "uploads": rl.DONE,
        "container registry images": rl.SKIPPED,
        "ci secure files": rl.SKIPPED,
    }
    assert (log.finished, log.failures, log.schema_errors, log.current) == (True, (), (), None)


def test_a_restore_of_older_versions() -> None:
    log = rl.read(OLDER)
    assert outcomes(log) == {
        "database": rl.DONE,
        "repositories": rl.DONE,
        "uploads": rl.DONE,
        "lfs objects": rl.SKIPPED,
    }
    assert (log.finished, log.failures, log.schema_errors) == (True, (), ())


def test_errors_of_the_schema_are_seen_though_nobody_was_asked() -> None:
    log = rl.read(SCHEMA)
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
    log = rl.read(f"2023-11-21 03:10:01 UTC -- Restoring uploads ... \n{line}\n")
    assert len(log.failures) == 1
    assert (log.finished, log.current) == (False, "uploads")


@pytest.mark.parametrize("text", [NEWER, OLDER, SCHEMA])
def test_a_log_that_breaks_off_is_not_finished(text: str) -> None:
    lines = text.splitlines(keepends=True)
    for last in range(len(lines)):
        cut = rl.read("".join(lines[:last]))
        assert cut.finished == any("Restore task is done." in line for line in lines[:last])


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert not rl.read(text).finished
