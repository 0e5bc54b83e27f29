# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_log as log
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import SUFFIX

# Up to 14.9 the result has a line of its own and the zone is a number; colours as Rainbow writes them.
OLD = """\
2022-01-25 20:25:16 +0000 -- \x1b[34mDumping database ... \x1b[0m
Dumping PostgreSQL database gitlabhq_production ... \x1b[32m[DONE]\x1b[0m
2022-01-25 20:25:19 +0000 -- \x1b[32mdone\x1b[0m
2022-01-25 20:25:19 +0000 -- Dumping repositories ...
 * acme/web (@hashed/6b/86/6b86b273) ... [DONE]
 * acme/empty ... [EMPTY] [SKIPPED]
2022-01-25 20:26:31 +0000 -- done
2022-01-25 20:26:31 +0000 -- Dumping uploads ...
2022-01-25 20:26:31 +0000 -- [SKIPPED]
2022-01-25 20:26:31 +0000 -- Dumping container registry images ...
2022-01-25 20:26:31 +0000 -- [DISABLED]
Creating backup archive: 1643142379_2022_01_25_14.2.7-ee_gitlab_backup.tar ... done
Deleting old backups ... skipping
Warning: Your gitlab.rb and gitlab-secrets.json files contain sensitive data
and are not included in this backup. You will need these files to restore a backup.
Please back them up manually.
Backup task is done.
"""

NEW = """\
2023-11-21 23:59:58 UTC -- Dumping main_database ...
Dumping PostgreSQL database gitlabhq_production ... [DONE]
2023-11-22 00:00:02 UTC -- Dumping main_database ... done
2023-11-22 00:00:02 UTC -- Dumping ci_database ... [DISABLED]
2023-11-22 00:00:02 UTC -- Dumping repositories ...
{"command":"create","error":"manager: repository empty: repository skipped","level":"warning","msg":"skipped create"}
2023-11-22 00:00:03 UTC -- Dumping repositories ... done
2023-11-22 00:00:03 UTC -- Dumping ci secure files ...
2023-11-22 00:00:03 UTC -- Dumping ci secure files ... done
2023-11-22 00:00:04 UTC -- Creating backup archive: before-error-fix_gitlab_backup.tar ...
2023-11-22 00:00:04 UTC -- Creating backup archive: before-error-fix_gitlab_backup.tar ... done
2023-11-22 00:00:04 UTC -- Uploading backup archive to remote storage  ... [SKIPPED]
2023-11-22 00:00:04 UTC -- Deleting old backups ... [SKIPPED]
2023-11-22 00:00:04 UTC -- Deleting tar staging files ...
2023-11-22 00:00:04 UTC -- Cleaning up /srv/failed/backups/backup_information.yml
2023-11-22 00:00:04 UTC -- Deleting tar staging files ... done
2023-11-22 00:00:04 UTC -- Backup before-error-fix is done.
2023-11-22 00:00:04 UTC -- Deleting backup and restore PID file ... done
"""


def test_a_log_of_14() -> None:
    found = log.read(OLD)

    assert [(part.name, part.outcome, part.seconds) for part in found.parts] == [
        ("db", "done", 3),
        ("repositories", "done", 72),
        ("uploads", "skipped", 0),
        ("registry", "disabled", 0),
    ]
    assert found.failures == ()
    assert found.finished


def test_a_log_of_16_over_midnight_with_the_word_error_in_the_id() -> None:
    found = log.read(NEW, "before-error-fix")

    assert [(part.label, part.outcome, part.seconds) for part in found.parts] == [
        ("main_database", "done", 4),
        ("ci_database", "disabled", 0),
        ("repositories", "done", 1),
        ("ci secure files", "done", 0),
    ]
    assert found.outcome("db") == "done"
    assert found.named("done") == ["db", "repositories", "ci_secure_files"]
    assert found.failures == ()
    assert found.finished


DATED = "2023-11-21 03:05:13 UTC -- "
FAILURES = [
    f"{DATED}Dumping uploads failed: Failed to create compressed file '/b/uploads.tar.gz' when trying to backup",
    f"{DATED}Dumping database failed: Failed to create compressed file '/b/db/database.sql.gz'",
    f"{DATED}Creating archive x_gitlab_backup.tar failed",
    f"{DATED}Transferring backup to remote directory failed",
    f"{DATED}Error: something",
    "pg_dump: error: server version: 13.3; pg_dump version: 12.6",
    "pg_dump: error: aborting because of server version mismatch",
    "Dumping PostgreSQL database gitlabhq_production ... [FAILED]",
    " * acme/web ... [Failed]",
    "Failed to create compressed file '/b/uploads.tar.gz' when trying to backup the following paths: '/u' ",
    "Creating archive x_gitlab_backup.tar failed",
    "gzip: stdout: No space left on device",
    "gzip: stdout: Input/output error",
    "tar: ./big: file changed as we read it",
    "tar: Error is not recoverable: exiting now",
    "rake aborted!",
    "Errno::ENOSPC: No space left on device @ rb_sysopen - /var/opt/gitlab/backups/backup_information.yml",
    "Backup::Error: Backup failed",
    '{"command":"create","error":"rpc error","level":"error","msg":"create failed"}',
]


@pytest.mark.parametrize("line", FAILURES)
@pytest.mark.parametrize("whole", [OLD, NEW], ids=["14", "16"])
def test_each_line_of_a_failure_is_seen_wherever_it_stands(whole: str, line: str) -> None:
    lines = whole.splitlines()
    for place in (0, len(lines) // 2, len(lines)):
        found = log.read("\n".join([*lines[:place], line, *lines[place:]]), "before-error-fix")
        assert found.failures == (line.replace(DATED, "").strip(),)


@pytest.mark.parametrize("label", list(log.LABELS))
def test_a_failed_part_is_failed_though_the_run_went_on(label: str) -> None:
    text = f"{DATED}Dumping {label} ... \n{DATED}Dumping {label} failed: no\n{DATED}Backup x is done.\n"

    found = log.read(text)

    assert found.outcome(log.LABELS[label]) == log.FAILED
    assert found.finished
    assert len(found.failures) == 1


def test_up_to_14_9_a_failed_part_has_no_end() -> None:
    text = OLD.replace("2022-01-25 20:25:19 +0000 -- \x1b[32mdone\x1b[0m\n", "Failed to create compressed file 'x'\n")

    found = log.read(text)

    assert found.outcome("db") == log.FAILED
    assert found.outcome("repositories") == log.DONE
    assert found.failures == ("Failed to create compressed file 'x'", "Dumping database did not come to its end")


def test_from_17_the_lines_of_each_database_have_dates_too() -> None:
    lines = ["Dumping database ... ", "Dumping PostgreSQL database gitlabhq_production ... ", "[DONE]"]
    lines += ["Dumping PostgreSQL database gitlabhq_production_ci ... ", "[DONE]", "Dumping database ... done"]

    found = log.read("".join(f"{DATED}{line}\n" for line in lines))

    assert [(part.label, part.outcome) for part in found.parts] == [("database", "done")]
    assert found.failures == ()


def test_one_failed_database_is_a_failed_part() -> None:
    text = f"{DATED}Dumping main_database ... done\n{DATED}Dumping ci_database ... \n{DATED}Dumping ci_database failed: no\n"

    assert log.read(text).outcome("db") == log.FAILED


def test_a_part_without_an_end_is_running() -> None:
    found = log.read(f"{DATED}Dumping repositories ... \n")

    assert found.outcome("repositories") == log.RUNNING
    assert found.outcome("uploads") is None
    assert not found.finished


def test_the_lock_of_another_run_is_no_end() -> None:
    text = (
        "Backup and restore in progress:\n  There is a backup and restore task in progress (PID 1234).\n"
        "  Try to run the current task once the previous one ends.\n"
    )
    assert not log.read(text).finished


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True))
def test_no_id_looks_like_a_failure(name: str) -> None:
    text = f"{DATED}Creating backup archive: {name}{SUFFIX} ... done\n{DATED}Backup {name} is done.\n"
    found = log.read(text, name)

    assert found.failures == ()
    assert found.finished


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    log.read(text)
