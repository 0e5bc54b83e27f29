# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import textwrap
import time
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import (
    Cause,
    Configuration,
    ExistingObject,
    diagnose,
)

RECORDINGS = pathlib.Path(__file__).parents[3] / "data" / "recordings"

# The cause of each command that failed in a recording, in the order of its steps.
RECORDED: dict[str, list[Cause]] = {
    "console_mark_missing_as_finished": [Cause.UNKNOWN],
    "ensure_14x_active": [Cause.BBM_UNFINISHED],
    "ensure_14x_failed": [Cause.BBM_UNFINISHED],
    "ensure_14x_multi_column": [Cause.BBM_UNFINISHED],
    "ensure_active_no_finalize": [Cause.BBM_UNFINISHED],
    "ensure_class_removed": [Cause.CLASS_REMOVED],
    "ensure_failed_no_finalize": [Cause.BBM_UNFINISHED],
    "ensure_finalizing_no_finalize": [Cause.BBM_UNFINISHED],
    "ensure_null_argument_active_no_finalize": [Cause.BBM_UNFINISHED],
    "ensure_paused_no_finalize": [Cause.BBM_UNFINISHED],
    "finalize_active_failed_job_attempts_3_setB": [Cause.JOB_FAILED],
    "finalize_busy_wait_cpu": [Cause.INTERRUPTED],
    "finalize_class_unknown_to_code": [Cause.CLASS_REMOVED],
    "finalize_column_count_mismatch": [Cause.JOB_FAILED],
    "finalize_column_missing": [Cause.JOB_FAILED],
    "finalize_database_down": [Cause.DATABASE_DOWN],
    "finalize_empty_fourth_argument": [Cause.MISSING_ARGUMENT],
    "finalize_failed_setB": [Cause.JOB_FAILED],
    "finalize_job_always_raises": [Cause.JOB_FAILED] * 7,
    "finalize_malformed_json": [Cause.BAD_JSON],
    "finalize_no_arguments_tty": [Cause.MISSING_ARGUMENT],
    "finalize_shared_ci_connection": [Cause.UNKNOWN_TASK],
    "finalize_sighup_then_rerun": [Cause.INTERRUPTED],
    "finalize_sigint_then_rerun": [Cause.INTERRUPTED],
    "finalize_sigkill_then_job_marked_failed": [Cause.INTERRUPTED],
    # The second command never ended and printed nothing.
    "finalize_sigkill_then_rerun": [Cause.INTERRUPTED, Cause.NONE],
    "finalize_table_dropped": [Cause.JOB_FAILED] * 2,
    "finalize_three_arguments": [Cause.MISSING_ARGUMENT],
    "finalize_two_databases_no_arguments": [Cause.MISSING_ARGUMENT],
    "finalize_two_databases_unspecified": [Cause.DATABASE_NOT_SPECIFIED],
    "finalize_unclosed_bracket": [Cause.UNKNOWN_TASK],
    "finalize_unknown_database": [Cause.UNKNOWN_TASK],
    "finish_with_unfinished_jobs": [Cause.UNKNOWN],
    "mark_complete_malformed_empty": [Cause.MISSING_ARGUMENT],
    "mark_complete_malformed_word": [Cause.MISSING_ARGUMENT],
    "mark_complete_no_argument": [Cause.MISSING_ARGUMENT],
    "mark_complete_two_databases": [Cause.UNKNOWN_TASK],
    "migrate_database_down": [Cause.DATABASE_DOWN],
    "migrate_duplicate_table": [Cause.OBJECT_EXISTS],
    "migrate_duplicate_table_announce_database": [Cause.OBJECT_EXISTS],
    "migrate_status_database_down": [Cause.DATABASE_DOWN],
    "migrate_status_named_single": [Cause.UNKNOWN_TASK],
    "migrate_up_version": [Cause.UNKNOWN, Cause.MISSING_ARGUMENT],
    "queue_wrong_argument_count": [Cause.UNKNOWN],
    "status_database_down": [Cause.DATABASE_DOWN],
    "upgrade_way_check_finalize_migrate": [Cause.BBM_UNFINISHED],
    "upgrade_way_check_finalize_migrate_setA": [Cause.BBM_UNFINISHED],
    "wait_failed": [Cause.BBM_UNFINISHED],
    "wait_failed_two_databases": [Cause.BBM_UNFINISHED],
    "wait_interval_empty": [Cause.MISSING_ARGUMENT],
    "wait_interval_fraction": [Cause.MISSING_ARGUMENT],
    "wait_interval_word": [Cause.MISSING_ARGUMENT],
    "wait_paused_never_ends": [Cause.NONE],
}
# The recorder's script for the worker prints the exception and goes on, as Sidekiq does.
EXIT_0_WITH_AN_ERROR = {"worker_class_unknown_to_code": Cause.CLASS_REMOVED}


def recorded_commands() -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for path in sorted(RECORDINGS.glob("*.json")):
        recording = json.loads(path.read_text(encoding="utf-8"))
        for step in recording.get("steps", [recording]):
            if "command" in step:
                yield path.stem, step


def recorded(name: str) -> str:
    return next(f"{step['stdout']}{step['stderr']}" for stem, step in recorded_commands() if stem == name)


def test_every_recorded_failure_has_its_cause() -> None:
    found: dict[str, list[Cause]] = {}
    for name, step in recorded_commands():
        if step["exit_code"] != 0:
            found.setdefault(name, []).append(diagnose(step["stdout"] + step["stderr"], step["exit_code"]).cause)
    assert found == RECORDED


def test_no_recorded_success_looks_like_a_failure() -> None:
    found = {
        name: diagnosis.cause
        for name, step in recorded_commands()
        if step["exit_code"] == 0
        for diagnosis in [diagnose(step["stdout"] + step["stderr"], 0)]
        if diagnosis.cause is not Cause.NONE
    }
    assert found == EXIT_0_WITH_AN_ERROR


COPY = "CopyColumnUsingBackgroundMigrationJob"
ID = [["id"], ["id_convert_to_bigint"]]
EVENT_ID = [["event_id"], ["event_id_convert_to_bigint"]]
TWO = [["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"]]
NAMESPACES = "ProjectNamespaces::BackfillProjectNamespaces"

HEAD = "Expected batched background migration for the given configuration to be marked as 'finished', but it is"
WRAPPED_BY_DOCS = """\
   Expected batched background migration for the given configuration to be marked as
   'finished', but it is 'active':
     {:job_class_name=>"CopyColumnUsingBackgroundMigrationJob",
      :table_name=>"push_event_payloads",
      :column_name=>"event_id",
      :job_arguments=>[["event_id"],
      ["event_id_convert_to_bigint"]]
     }
"""
FINALIZE = "gitlab:background_migrations:finalize"

UNFINISHED: list[tuple[str, str, Configuration]] = [
    (
        "of the documentation",
        WRAPPED_BY_DOCS,
        Configuration(COPY, "push_event_payloads", "event_id", EVENT_ID, "active"),
    ),
    (
        "earliest, a blank before the hash, no sudo",
        f'{HEAD} \'active\': {{:job_class_name=>"{COPY}", :table_name=>"events", :column_name=>"id",'
        f' :job_arguments=>[["id"], ["id_convert_to_bigint"]]}}\n\nFinalize it manualy by running\n\n'
        f'\tgitlab-rake {FINALIZE}[{COPY},events,id,\'[["id"]\\, ["id_convert_to_bigint"]]\']',
        Configuration(COPY, "events", "id", ID, "active"),
    ),
    (
        "symbols and nil, 14.10 and later",
        f"{HEAD} 'paused':\t{{:job_class_name=>\"{NAMESPACES}\", :table_name=>:projects, :column_name=>:id,"
        ' :job_arguments=>[nil, "up"]}',
        Configuration(NAMESPACES, "projects", "id", [None, "up"], "paused"),
    ),
    (
        "Ruby 3.4",
        f'{HEAD} \'finalizing\':\t{{job_class_name: "{COPY}", table_name: :taggings, column_name: "id", job_arguments:'
        ' [["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"]]}',
        Configuration(COPY, "taggings", "id", TWO, "finalizing"),
    ),
    (
        "syslog",
        f"Nov 20 07:16:45 gitlab-1 gitlab-rake[123]: {HEAD} 'failed':#011{{:job_class_name=>\"{COPY}\","
        ' :table_name=>"events", :column_name=>"id", :job_arguments=>[]}#012#012Finalize it manualy by running',
        Configuration(COPY, "events", "id", [], "failed"),
    ),
    (
        "quotes, a hash mark and a backslash in the arguments",
        f'{HEAD} \'active\':\t{{:job_class_name=>"X", :table_name=>"t", :column_name=>"id",'
        ' :job_arguments=>["a\\"b", "\\#{c}", "d\\\\e", {"k"=>1.5}]}',
        Configuration("X", "t", "id", ['a"b', "#{c}", "d\\e", {"k": 1.5}], "active"),
    ),
    (
        "a table with its schema, one word for each partition",
        f'{HEAD} \'active\':\t{{:job_class_name=>"X", :table_name=>"gitlab_partitions_dynamic.ci_pipelines_103",'
        ' :column_name=>"id", :job_arguments=>[]}',
        Configuration("X", "gitlab_partitions_dynamic.ci_pipelines_103", "id", [], "active"),
    ),
    (
        "hash cut, command of 14.1 to 14.9",
        f"{HEAD} 'active':\t{{:job_class_name=>\"{COPY}\", :table_na\n\nFinalize it manualy by running\n\n"
        f'\tsudo gitlab-rake {FINALIZE}[{COPY},events,id,\'[["id"]\\, ["id_convert_to_bigint"]]\']\n\nFor more',
        Configuration(COPY, "events", "id", ID, "active"),
    ),
    (
        "hash cut, nil in the command of 14.1 to 14.9",
        f"{HEAD} 'active':\t(...)\n\tsudo gitlab-rake {FINALIZE}[{NAMESPACES},projects,id,'[nil\\, \"up\"]']",
        Configuration(NAMESPACES, "projects", "id", [None, "up"], "active"),
    ),
    (
        "hash cut, command of 14.10 and later",
        f"{HEAD} 'active':\t(...)\n\tsudo gitlab-rake {FINALIZE}[{NAMESPACES},projects,id,'[null\\,\"up\"]']",
        Configuration(NAMESPACES, "projects", "id", [None, "up"], "active"),
    ),
    (
        "hash cut, no arguments in the command",
        f"{HEAD} 'active':\t(...)\n\tsudo gitlab-rake {FINALIZE}[X,projects,id,'[]']",
        Configuration("X", "projects", "id", [], "active"),
    ),
    (
        "lines broken inside of the words by a terminal",
        f'{HEAD} \'active\':\t{{:job_class_name=>"CopyColumnUsingBackgroundMigra\ntionJob", :table_name=>"eve\nnts",'
        ' :column_name=>"id", :job_arguments=>[["id"], ["id_con\nvert_to_bigint"]]}',
        Configuration(COPY, "events", "id", ID, "active"),
    ),
    ("nothing left", f"{HEAD} 'active':", Configuration(status="active")),
    (
        "names that are no names",
        f'{HEAD} \'active\':\t{{:job_class_name=>"rm -rf /", :table_name=>"t", :column_name=>"id",'
        " :job_arguments=>[]}",
        Configuration(status="active"),
    ),
    (
        "the task wait",
        "Some batched background migrations are in a failed state and must be finalized manually:\nDatabase: ci\n"
        f'  failed | {COPY},ci_builds,id,[["id"],["id_convert_to_bigint"]]\n  failed | X,t,id,[]\n',
        Configuration(COPY, "ci_builds", "id", ID, "failed", "ci"),
    ),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in UNFINISHED], ids=[row[0] for row in UNFINISHED])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_unfinished_migration_in_every_spelling(text: str, expected: Configuration, line_end: str) -> None:
    diagnosis = diagnose(text.replace("\n", line_end), 1)
    assert (diagnosis.cause, diagnosis.configuration) == (Cause.BBM_UNFINISHED, expected)
    assert diagnosis.database == expected.database
    assert "bbm_finalize" in diagnosis.remedy


def test_the_line_for_people_is_the_one_that_gitlab_means() -> None:
    diagnosis = diagnose(recorded("ensure_null_argument_active_no_finalize"))
    assert f"sudo gitlab-rake '{FINALIZE}[{NAMESPACES},events,id,[null\\,\"up\"]]'" in diagnosis.remedy
    assert 'job_arguments: [null, "up"]' in diagnosis.remedy


def chef(rake_output: str) -> str:
    """Return what reconfigure prints when its migration fails."""
    inner = f"""\
================================================================================
Error executing action `run` on resource 'rails_migration[gitlab-rails]'
================================================================================

Mixlib::ShellOut::ShellCommandFailed
------------------------------------
bash_hide_env[migrate gitlab-rails database] (resources/rails_migration.rb line 20) had an error: \
Mixlib::ShellOut::ShellCommandFailed: Expected process to exit with [0], but received '1'
---- Begin output of "bash"  "/tmp/chef-script20240101-1-abc" ----
STDOUT: {rake_output.rstrip()}
STDERR:
---- End output of "bash"  "/tmp/chef-script20240101-1-abc" ----
Ran "bash"  "/tmp/chef-script20240101-1-abc" returned 1
"""
    return (
        "  * rails_migration[gitlab-rails] action run\n"
        + textwrap.indent(inner, "    ")
        + "\nRunning handlers:\nRunning handlers complete\nChef Infra Client failed. 2 resources updated in 30 seconds\n"
    )


def chef_live(rake_output: str) -> str:
    """Return the same output as Chef shows it while the command runs."""
    first, *others = rake_output.rstrip().split("\n")
    return "\n".join([f"      [execute] {first}", *(f"                {line}" for line in others)]) + "\n"


def syslog(output: str) -> str:
    return "\n".join(f"Nov 20 07:16:45 gitlab-1 gitlab-rake[123]: {line}" for line in output.split("\n"))


def one_syslog_line(output: str) -> str:
    return "2026-11-20T07:16:45.123+00:00 gitlab-1 rake[1]: " + output.replace("\t", "#011").replace("\n", "#012")


def svlogd(output: str) -> str:
    return "\n".join(f"2026-11-20_07:16:45.12345 {line}" for line in output.split("\n"))


def coloured(output: str) -> str:
    return "\n".join(f"\x1b[31m{line}\x1b[0m" for line in output.split("\n"))


DRESSES = [chef, chef_live, syslog, one_syslog_line, svlogd, coloured, lambda text: text.replace("\n", "\r\n")]


@pytest.mark.parametrize("dress", DRESSES, ids=["chef", "chef-live", "syslog", "one-line", "svlogd", "colours", "crlf"])
@pytest.mark.parametrize("name", [name for name, causes in RECORDED.items() if causes[0] is not Cause.NONE])
def test_logs_tell_the_same_as_the_output_itself(name: str, dress: t.Callable[[str], str]) -> None:
    output = recorded(name)
    if not output.strip():
        assert diagnose(dress(output), 137).cause is Cause.INTERRUPTED
        return
    plain, dressed = diagnose(output, 1), diagnose(dress(output), 1)
    assert dressed.cause is plain.cause
    assert dressed.exception_class == plain.exception_class
    assert dressed.configuration == plain.configuration
    assert dressed.existing_object == plain.existing_object
    assert (dressed.migration_version, dressed.database) == (plain.migration_version, plain.database)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            'PG::DuplicateTable: ERROR:  relation "lfs_objects" already exists',
            ExistingObject("relation", "lfs_objects"),
        ),
        (
            'PG::DuplicateColumn: ERROR:  column "foo" of relation "bars" already exists',
            ExistingObject("column", "foo", "bars"),
        ),
        (
            'PG::DuplicateObject: ERROR:  constraint "fk_1" for relation "bars" already exists',
            ExistingObject("constraint", "fk_1", "bars"),
        ),
        (
            'PG::DuplicateObject: ERROR:  trigger "trg" for relation "bars" already exists',
            ExistingObject("trigger", "trg", "bars"),
        ),
        (
            'PG::DuplicateFunction: ERROR:  function "f" already exists with same argument types',
            ExistingObject("function", "f"),
        ),
        ('PG::DuplicateSchema: ERROR:  schema "x" already exists', ExistingObject("schema", "x")),
        ("PG::DuplicateObject: FEHLER:  Typ »x« existiert bereits", ExistingObject("object")),
        ("Index name 'i_x' on table 'xs' already exists", ExistingObject("index", "i_x", "xs")),
    ],
)
def test_objects_that_exist(error: str, expected: ExistingObject) -> None:
    output = (
        "ci: == 20220101000000 Earlier: migrating ===\nci: == 20220101000000 Earlier: migrated (0.1s) ===\n\n"
        "ci: == 20220102000000 AddIt: migrating ====\nci: -- add()\nrake aborted!\n"
        f"StandardError: An error has occurred, this and all later migrations canceled:\n\n{error}\n"
    )
    diagnosis = diagnose(output, 1)
    assert (diagnosis.cause, diagnosis.existing_object) == (Cause.OBJECT_EXISTS, expected)
    assert (diagnosis.migration_version, diagnosis.migration_name) == ("20220102000000", "AddIt")
    assert diagnosis.database == "ci"
    assert "mark_migration_complete with version: 20220102000000" in diagnosis.remedy


def rake(error: str, task: str = "db:migrate") -> str:
    return (
        f"rake aborted!\n{error}\n/opt/gitlab/x.rb:1:in `y'\nTasks: TOP => {task}\n(See full trace by running task)\n"
    )


CANCELED = "StandardError: An error has occurred, all later migrations canceled:\n\n"
NOT_FOUND = "(See the list of available tasks with `rake --tasks`)"
SOCKET = 'connection to server on socket "/var/opt/gitlab/postgresql/.s.PGSQL.5432" failed: No such file or directory'

TEXTS: list[tuple[str, Cause, dict[str, t.Any]]] = [
    (rake(f"{CANCELED}PG::LockNotAvailable: ERROR:  canceling statement due to lock timeout"), Cause.LOCK_TIMEOUT, {}),
    (rake("ActiveRecord::LockWaitTimeout: PG::LockNotAvailable: ERROR:  x"), Cause.LOCK_TIMEOUT, {}),
    (
        rake(
            "Gitlab::Database::WithLockRetries::AttemptsExhaustedError:"
            " configured attempts to obtain locks are exhausted"
        ),
        Cause.LOCK_TIMEOUT,
        {},
    ),
    (rake("ActiveRecord::Deadlocked: PG::TRDeadlockDetected: ERROR:  deadlock detected"), Cause.LOCK_TIMEOUT, {}),
    (
        rake("ActiveRecord::QueryCanceled: PG::QueryCanceled: ERROR:  canceling statement due to statement timeout"),
        Cause.STATEMENT_TIMEOUT,
        {},
    ),
    (
        rake("ActiveRecord::QueryCanceled: PG::QueryCanceled: ERROR:  canceling statement due to user request"),
        Cause.INTERRUPTED,
        {},
    ),
    (
        rake(
            "NoMethodError: undefined method `x' for nil\n/opt/x.rb:1:in `y'\n\nCaused by:\nActiveRecord::QueryCanceled:"
            " PG::QueryCanceled: ERROR:  canceling statement due to statement timeout",
            FINALIZE,
        ),
        Cause.STATEMENT_TIMEOUT,
        {},
    ),
    (
        rake(
            "ActiveRecord::ConcurrentMigrationError: \n\nCannot run migrations because another migration process is"
            " currently running."
        ),
        Cause.CONCURRENT_MIGRATION,
        {},
    ),
    (
        rake("ActiveRecord::ConcurrentMigrationError: \n\nFailed to release advisory lock\n"),
        Cause.CONCURRENT_MIGRATION,
        {},
    ),
    (
        rake(
            "Gitlab::Database::BackgroundMigration::BatchedMigrationRunner::FailedToFinalize: Batched migration"
            " BackfillX could not be completed and a manual action is required.Check the admin panel at"
            " (`/admin/background_migrations`) for more details.",
            FINALIZE,
        ),
        Cause.JOB_FAILED,
        {},
    ),
    (
        "Executing background migration `ci_10`...\nBackground migration `ci_10` could not be completed. Check with"
        " `gitlab:background_migrations:show[ci_10]` for more details.\n",
        Cause.JOB_FAILED,
        {"id": "ci_10"},
    ),
    (
        "[main] Executing 2 background migrations...\n[main_85]: Start.\n[main_85]: Failed: 'boom'.\n[main_86]: Start.\n"
        "[main_86]: Done.\n",
        Cause.JOB_FAILED,
        {"id": "main_85", "reason": "boom"},
    ),
    (rake(f"PG::ConnectionBad: {SOCKET}"), Cause.DATABASE_DOWN, {}),
    (f"psql: error: {SOCKET}\n\tIs the server running locally?\n", Cause.DATABASE_DOWN, {}),
    ("psql: error: could not connect to server: No such file or directory\n", Cause.DATABASE_DOWN, {}),
    (
        rake("PG::ConnectionBad: PQconsumeInput() server closed the connection unexpectedly"),
        Cause.DATABASE_DOWN,
        {},
    ),
    ("Please specify the database\n", Cause.DATABASE_NOT_SPECIFIED, {}),
    ("\x1b[31mPlease specify the database\x1b[0m\r\n", Cause.DATABASE_NOT_SPECIFIED, {}),
    (
        f"rake aborted!\nDon't know how to build task 'db:migrat' {NOT_FOUND}\nDid you mean?  db:migrate\n"
        "               db:migrate:up\n\n(See full trace by running task with --trace)\n",
        Cause.UNKNOWN_TASK,
        {"task": "db:migrat", "suggestions": ["db:migrate", "db:migrate:up"]},
    ),
    (rake("JSON::ParserError: 783: unexpected token at '[[\"id\"]'", FINALIZE), Cause.BAD_JSON, {}),
    ("Must specify a migration version as an argument\n", Cause.MISSING_ARGUMENT, {"argument": "migration version"}),
    ("Version 'abc' must be a non-zero integer\n", Cause.MISSING_ARGUMENT, {"argument": "Version"}),
    (
        "/bin/gitlab-rake error: could not load /opt/gitlab/etc/gitlab-rails-rc\nEither you are not allowed to read the"
        " file, or it does not exist yet.\nYou can generate it with:   sudo gitlab-ctl reconfigure\n",
        Cause.NOT_CONFIGURED,
        {"file": "/opt/gitlab/etc/gitlab-rails-rc"},
    ),
    ("Schema migrations table does not exist yet.\n", Cause.NOT_CONFIGURED, {}),
    (
        "Mixlib::ShellOut::CommandTimeout\n----\nrails_migration[gitlab-rails] had an error:"
        " Mixlib::ShellOut::CommandTimeout: Command timed out after 3600s:\nCommand exceeded allowed execution time,"
        " process terminated\nSTDOUT: main: == 20220101000000 Long: migrating ===\nrake aborted!\n"
        "SignalException: SIGTERM\n",
        Cause.COMMAND_TIMEOUT,
        {"seconds": "3600"},
    ),
    (rake("ArgumentError: 6 is not a known status value", "gitlab:x"), Cause.UNKNOWN_STATUS, {"status": "6"}),
    (
        rake(
            "Your current database version is too old to be migrated. You should upgrade to GitLab 11.11.0 before moving"
            " to this version. Please see https://docs.gitlab.com/"
        ),
        Cause.DATABASE_TOO_OLD,
        {"gitlab": "11.11.0"},
    ),
    (
        "gitlab preinstall: Your version of PostgreSQL is no longer supported. Please upgrade your PostgreSQL version to"
        " 17.\n",
        Cause.DATABASE_TOO_OLD,
        {"postgresql": "17"},
    ),
    (rake("SignalException: SIGTERM"), Cause.INTERRUPTED, {"signal": "SIGTERM"}),
    (rake("Interrupt: "), Cause.INTERRUPTED, {}),
    (
        "gzip: stdout: No space left on device\nrake aborted!\nBackup::Error: Backup failed\n",
        Cause.NO_SPACE,
        {},
    ),
    (rake('PG::DiskFull: ERROR:  could not extend file "base/1/2"'), Cause.NO_SPACE, {}),
    (
        "Command execution failed. STDOUT/STDERR suppressed for sensitive resource\nChef Infra Client failed.\n",
        Cause.OUTPUT_SUPPRESSED,
        {},
    ),
    (
        "gitlab preinstall: It seems you are upgrading from major version 14 to major version 15.\n"
        "gitlab preinstall: It is required to upgrade to the latest 14.10.x version first before proceeding.\n",
        Cause.PATH_REFUSED,
        {"required": "14.10"},
    ),
    (
        "tar: ./big.log: file changed as we read it",
        Cause.BACKUP_FILE_CHANGED,
        {},
    ),
    (
        "rake aborted!\nErrno::EACCES: Permission denied @ dir_s_mkdir - /mnt/backups/db",
        Cause.BACKUP_NOT_ALLOWED,
        {},
    ),
    (
        "pg_dump: error: server version: 13.3; pg_dump version: 12.6\n"
        "pg_dump: error: aborting because of server version mismatch",
        Cause.DUMP_PROGRAM_TOO_OLD,
        {},
    ),
    (
        "Backup and restore in progress:\n  There is a backup and restore task in progress (PID 1234).\n"
        "  Try to run the current task once the previous one ends.\n",
        Cause.BACKUP_BUSY,
        {"pid": "1234"},
    ),
    (
        "The backup file /var/opt/gitlab/backups/1_gitlab_backup.tar does not exist!\n",
        Cause.BACKUP_NOT_FOUND,
        {"path": "/var/opt/gitlab/backups/1_gitlab_backup.tar"},
    ),
    (
        "GitLab version mismatch:\n  Your current GitLab version (16.5.0-ee) differs from the GitLab version in the"
        " backup!\n  Please switch to the following version and try again:\n  version: 16.4.3-ee\n\n"
        "Hint: git checkout v16.4.3-ee\n",
        Cause.BACKUP_VERSION_MISMATCH,
        {"installed": "16.5.0-ee", "backup": "16.4.3-ee"},
    ),
    (
        rake(
            "ActiveRecord::StatementInvalid: PG::ReadOnlySqlTransaction: ERROR:  cannot execute UPDATE in a read-only"
        ),
        Cause.DATABASE_DOWN,
        {},
    ),
    # finalize says it of itself, db:migrate through the engine's lines in the backtrace.
    (rake("KeyError: x", FINALIZE), Cause.JOB_FAILED, {}),
    (
        rake(f"{CANCELED}x\n/opt/gitlab/database/background_migration/batched_migration_runner.rb:30:in `x'"),
        Cause.JOB_FAILED,
        {},
    ),
    # The code of a migration that reads JSON, not the arguments of the task.
    (rake("JSON::ParserError: 783: unexpected token", "db:migrate"), Cause.UNKNOWN, {}),
    (
        rake(
            "JSON::ParserError: x\n/opt/gitlab/lib/gitlab/database/background_migration/batched_migration_wrapper.rb:62:in `x'",
            FINALIZE,
        ),
        Cause.JOB_FAILED,
        {},
    ),
    (rake(f"{CANCELED}PG::CheckViolation: ERROR:  check constraint violated"), Cause.UNKNOWN, {}),
    ("rake aborted!\n", Cause.UNKNOWN, {}),
    ("Chef Infra Client failed. 2 resources updated in 30 seconds\n", Cause.UNKNOWN, {}),
    ("Done.\n", Cause.NONE, {}),
    ("", Cause.NONE, {}),
]


@pytest.mark.parametrize(("text", "cause", "details"), TEXTS)
def test_texts(text: str, cause: Cause, details: dict[str, t.Any]) -> None:
    diagnosis = diagnose(text)
    assert (diagnosis.cause, diagnosis.details) == (cause, details)
    assert diagnosis.summary
    assert diagnosis.meaning.endswith(".")
    assert diagnosis.remedy or cause is Cause.NONE
    assert "{" not in diagnosis.summary + diagnosis.meaning


def test_every_cause_is_reached_by_a_text() -> None:
    reached = {cause for text, cause, details in TEXTS} | {cause for causes in RECORDED.values() for cause in causes}
    assert reached == set(Cause)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            rake(
                f"{CANCELED}PG::CheckViolation: ERROR:  violated\n/x.rb:1:in `y'\n\nCaused by:\nPG::CheckViolation: x"
            ),
            "PG::CheckViolation",
            "ERROR:  violated",
        ),
        (
            rake(f"{CANCELED}no such thing\n/x.rb:1:in `y'\n\nCaused by:\nKeyError: no such thing"),
            "KeyError",
            "no such thing",
        ),
        (rake("plain words"), "RuntimeError", "plain words"),
        (rake("A::B: two\nlines"), "A::B", "two\nlines"),
        (
            "(runner):1:in `<main>': it broke (NoMethodError)\n\tfrom runner.rb:3:in `eval'\n",
            "NoMethodError",
            "it broke",
        ),
        ("script.rb:1:in 'Foo#bar': it broke (Foo::Error)\n", "Foo::Error", "it broke"),
    ],
)
def test_unknown_failures_keep_the_exception(text: str, name: str, message: str) -> None:
    diagnosis = diagnose(text, 1)
    assert (diagnosis.cause, diagnosis.exception_class, diagnosis.exception_message) == (Cause.UNKNOWN, name, message)
    assert message.split("\n")[0] in diagnosis.summary


LOCK = "PG::LockNotAvailable: ERROR:  canceling statement due to lock timeout"


@pytest.mark.parametrize(
    ("text", "part", "words"),
    [
        (rake(LOCK), "remedy", "then run gitlab_fleet.upgrade.db_migrate again."),
        (rake(LOCK, "db:migrate:ci"), "remedy", "then run gitlab_fleet.upgrade.db_migrate again."),
        (rake(LOCK, FINALIZE), "remedy", "then run gitlab_fleet.upgrade.bbm_finalize again."),
        (rake(LOCK, "db:migrate:status"), "remedy", "then repeat what failed."),
        (LOCK, "remedy", "then repeat what failed."),
        (f"== 1 AddIt: migrating\n{rake(LOCK)}", "summary", "A statement of the migration 1 AddIt waited"),
        (LOCK, "summary", "A statement waited"),
        ("[main_85]: Failed.\n", "summary", "migration main_85 ended as failed"),
        (rake("FailedToFinalize: Batched migration X::Y could not be completed"), "summary", "migration X::Y ended as"),
        (rake("SignalException: SIGHUP"), "summary", "interrupted by SIGHUP."),
        (rake("Interrupt: "), "summary", "interrupted."),
        (f"a\n  psql: error: {SOCKET}\nb\n", "summary", f"cannot be reached: psql: error: {SOCKET}"),
        ('PG::DuplicateTable: ERROR:  relation "x" already exists', "summary", "which a migration that the text"),
        (
            'PG::DuplicateColumn: ERROR:  column "x" of relation "y" already exists',
            "summary",
            "The column x of y, which a migration",
        ),
        (rake("A: first\nsecond"), "summary", "failed: A: first"),
        (
            rake("ActiveRecord::ConcurrentMigrationError: \n\nFailed to release advisory lock"),
            "meaning",
            "through PgBouncer in transaction mode",
        ),
        # No row can hold it, so there is no line to type.
        (
            f'{HEAD} \'active\': {{:job_class_name=>"X", :table_name=>"t", :column_name=>"c",'
            ' :job_arguments=>["\\u0000"]}',
            "remedy",
            'job_arguments: ["\\u0000"], then repeat what failed.',
        ),
    ],
)
def test_words_that_depend_on_the_context(text: str, part: str, words: str) -> None:
    assert words in diagnose(text).to_dict()[part]


def test_the_last_run_in_a_log_counts() -> None:
    log = recorded("ensure_14x_active") + rake(f"PG::ConnectionBad: {SOCKET}")
    assert diagnose(log).cause is Cause.DATABASE_DOWN
    assert diagnose(rake(f"PG::ConnectionBad: {SOCKET}") + recorded("ensure_14x_active")).cause is Cause.BBM_UNFINISHED


def test_what_chef_says_is_in_the_summary_of_an_unknown_failure() -> None:
    diagnosis = diagnose(chef("sv: something else"), 1)
    assert diagnosis.cause is Cause.UNKNOWN
    assert "Expected process to exit with [0], but received '1'" in diagnosis.summary


@pytest.mark.parametrize(
    ("exit_code", "cause", "words"),
    [
        (None, Cause.NONE, "no failure"),
        (0, Cause.NONE, "no failure"),
        (1, Cause.UNKNOWN, "exit code 1: something"),
        (-9, Cause.INTERRUPTED, "SIGKILL"),
        (137, Cause.INTERRUPTED, "SIGKILL"),
        (143, Cause.INTERRUPTED, "SIGTERM"),
        (255, Cause.UNKNOWN, "exit code 255"),
    ],
)
def test_exit_codes_without_a_text(exit_code: int | None, cause: Cause, words: str) -> None:
    diagnosis = diagnose("something\n\n", exit_code)
    assert diagnosis.cause is cause
    assert words in diagnosis.summary


def test_an_unknown_failure_names_the_migration_that_was_running() -> None:
    text = """\
rake aborted!
StandardError: An error has occurred, all later migrations canceled:

PG::UndefinedTable: ERROR:  relation "things" does not exist
/opt/gitlab/db/post_migrate/20210622041846_break_it.rb:3:in `up'

Caused by:
PG::UndefinedTable: ERROR:  relation "things" does not exist
/opt/gitlab/db/post_migrate/20210622041846_break_it.rb:3:in `up'
Tasks: TOP => db:migrate
== 20210622041846 BreakIt: migrating ==========================================
"""
    assert diagnose(text, 1).summary == (
        "The command failed in the migration 20210622041846 BreakIt with exit code 1: "
        'PG::UndefinedTable: ERROR:  relation "things" does not exist.'
    )


def test_the_class_of_the_job_that_raised_is_that_of_its_file() -> None:
    names = {
        "finalize_job_always_raises": "AlwaysRaises",
        "finalize_column_count_mismatch": COPY,
        "finalize_sighup_then_rerun": COPY,
    }
    found = {name: diagnose(recorded(name), 1).configuration for name in names}
    assert found == {name: Configuration(class_name) for name, class_name in names.items()}


FRAGMENTS = [fragment for text, cause, details in TEXTS for fragment in text.split("\n")] + [
    HEAD,
    "'active':\t{:job_class_name=>",
    "[" * 200,
    '{"a"=>' * 200,
    f"{FINALIZE}[X,t,id,'[1e999]']",
    f"{FINALIZE}[X,t,id,'[\"\\ud800\"]']",
    f"{FINALIZE}[X,t,id,'[NaN\\, {'9' * 5000}]']",
    "rake aborted!",
    "Caused by:",
    "main: == 20220101000000 X: migrating ===",
    "{again} {0} %s",
]
garbage = st.one_of(
    st.text(),
    st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=12).map("\n".join),
    st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=12).map("".join),
)


@settings(max_examples=600, deadline=None)
@given(garbage, st.none() | st.integers(-300, 300))
def test_garbage_never_raises_and_is_always_json(text: str, exit_code: int | None) -> None:
    diagnosis = diagnose(text, exit_code)
    result = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))
    assert Cause(result["cause"]) is diagnosis.cause
    assert result["summary"]
    assert (diagnosis.cause is Cause.NONE) <= (exit_code in (None, 0))


@pytest.mark.parametrize(
    "piece",
    [
        "a:1:in `x': ",
        "x (Y) ",
        "1",
        " ",
        "\n",
        "[{",
        '{"a"=>',
        f"{HEAD} 'active': {{",
        f"{FINALIZE}[A,b,c,'[",
        "rake aborted!\nA: b\n",
    ],
)
def test_a_megabyte_of_garbage_takes_seconds_not_hours(piece: str) -> None:
    began = time.monotonic()
    diagnose(piece * (1_000_000 // len(piece)), 1)
    assert time.monotonic() - began < 30


def inspect(value: t.Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, list):
        return "[" + ", ".join(inspect(member) for member in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True).replace("#", "\\#")
    return json.dumps(value)


names = st.from_regex(r"[A-Z][A-Za-z]{0,8}(::[A-Z][a-z]{1,4})?", fullmatch=True)
columns = st.from_regex(r"[a-z][a-z_0-9]{0,12}", fullmatch=True)
plain_text = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=8)
job_arguments = st.lists(
    st.recursive(st.none() | st.booleans() | st.integers() | plain_text, lambda inner: st.lists(inner, max_size=3)),
    max_size=3,
)


@given(names, columns, columns, job_arguments, st.sampled_from(["active", "paused", "failed", "finalizing"]))
def test_any_configuration_is_read_from_the_hash(
    job_class_name: str, table_name: str, column_name: str, arguments: list[t.Any], status: str
) -> None:
    text = (
        f"{HEAD} '{status}':\t{{:job_class_name=>{inspect(job_class_name)}, :table_name=>:{table_name},"
        f" :column_name=>{inspect(column_name)}, :job_arguments=>{inspect(arguments)}}}\n\nFinalize it manualy\n"
    )
    assert diagnose(rake(f"{CANCELED}{text}")).configuration == Configuration(
        job_class_name, table_name, column_name, arguments, status
    )
