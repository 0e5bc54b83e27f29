# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The failures that one pattern tells, with what they mean and what to do. Used by :mod:`_failure` alone.

The texts come from recordings of GitLab's own engine and from its documentation; their order is that of evidence:
what explains the others comes first.
"""

from __future__ import annotations

import re
import typing as t
from enum import Enum


class Cause(str, Enum):
    """Why a command of GitLab failed."""

    BBM_UNFINISHED = "bbm_unfinished"
    OBJECT_EXISTS = "object_exists"
    LOCK_TIMEOUT = "lock_timeout"
    STATEMENT_TIMEOUT = "statement_timeout"
    CONCURRENT_MIGRATION = "concurrent_migration"
    JOB_FAILED = "job_failed"
    CLASS_REMOVED = "class_removed"
    DATABASE_DOWN = "database_down"
    DATABASE_NOT_SPECIFIED = "database_not_specified"
    DATABASE_TOO_OLD = "database_too_old"
    UNKNOWN_TASK = "unknown_task"
    BAD_JSON = "bad_json"
    MISSING_ARGUMENT = "missing_argument"
    NOT_CONFIGURED = "not_configured"
    COMMAND_TIMEOUT = "command_timeout"
    UNKNOWN_STATUS = "unknown_status"
    INTERRUPTED = "interrupted"
    NO_SPACE = "no_space"
    PATH_REFUSED = "path_refused"
    BACKUP_BUSY = "backup_busy"
    BACKUP_NOT_FOUND = "backup_not_found"
    BACKUP_VERSION_MISMATCH = "backup_version_mismatch"
    BACKUP_FILE_CHANGED = "backup_file_changed"
    BACKUP_NOT_ALLOWED = "backup_not_allowed"
    DUMP_PROGRAM_TOO_OLD = "dump_program_too_old"
    OUTPUT_SUPPRESSED = "output_suppressed"
    UNKNOWN = "unknown"
    NONE = "none"


class Rule(t.NamedTuple):
    """One way in which a failure shows.

    The three texts may name groups of ``pattern`` that always match, and C({again}) (how to repeat what failed),
    C({message}) (the first line of the error), and C({migration}), C({which}), C({signal_name}), which may be nothing.
    """

    cause: Cause
    pattern: re.Pattern[str]
    summary: str
    meaning: str
    remedy: str
    # Search the whole output, not only the exceptions that ended the run.
    anywhere: bool = False
    # Only if a finalize failed before it did anything; the same class may come from the code of a migration.
    before_work: bool = False


def words(pattern: str) -> re.Pattern[str]:
    """Compile ``pattern`` so that each blank matches any white space: documents and terminals wrap lines."""
    return re.compile(pattern.replace(" ", r"\s+"), re.MULTILINE | re.DOTALL)


_CLASS = r"(?P<job_class_name>[A-Z]\w*(?:::[A-Z]\w*)*)"
_ID = r"(?P<id>[a-z][a-z0-9_]*_\d+)"


RULES: tuple[Rule, ...] = (
    Rule(
        Cause.COMMAND_TIMEOUT,
        words(r"Command timed out after (?P<seconds>\d+)s"),
        "gitlab-ctl reconfigure ended a command that ran longer than its limit, which is one hour for migrations.",
        "That is the limit of Chef, not an error of GitLab. Migrations of the database may stand half-way.",
        "Run gitlab_fleet.upgrade.db_migrate, which has no such limit, then gitlab-ctl reconfigure.",
        anywhere=True,
    ),
    Rule(
        Cause.NO_SPACE,
        words(r"No space left on device|PG::DiskFull|Errno::ENOSPC|Insufficient disk space in (?P<path>\S+):"),
        "A disk is full.",
        "The command ended where it could write no more; the database rolled its last statement back.",
        "Make room (df -h names the file system), then {again}.",
        anywhere=True,
    ),
    Rule(
        Cause.CLASS_REMOVED,
        words(rf"uninitialized constant (?:EE::)?Gitlab::BackgroundMigration::{_CLASS}"),
        "The installed GitLab no longer has the class {job_class_name} of a batched background migration.",
        "GitLab was upgraded past the versions that can finish this migration. Its row is left in status finalizing.",
        "Roll back to a version that has the class and finish the migration there; bbm_status shows its row and the"
        " version that queued it.",
    ),
    *(
        Rule(
            Cause.JOB_FAILED,
            words(pattern),
            "A batched background migration{which} ended as failed.",
            "Jobs of it failed in every attempt.",
            "Read last_error of the migration in gitlab_fleet.upgrade.bbm_status, remove what makes the jobs fail, then"
            " run gitlab_fleet.upgrade.bbm_finalize again.",
        )
        for pattern in (
            rf"Batched migration {_CLASS} could not be completed",
            r"BatchedMigrationRunner::FailedToFinalize",
            rf"Background migration `{_ID}` could not be completed",
            rf"^\[{_ID}\]: Failed(?:: '(?P<reason>[^\n]*)')?\.$",
        )
    ),
    Rule(
        Cause.LOCK_TIMEOUT,
        words(
            r"canceling statement due to lock timeout|PG::LockNotAvailable|ActiveRecord::LockWaitTimeout"
            r"|attempts to obtain locks are exhausted|PG::TRDeadlockDetected|deadlock detected"
        ),
        "A statement{migration} waited too long for a lock.",
        "Another transaction holds the table: a long query, an autovacuum or a running pg_dump. Nothing is broken.",
        "Wait for the others or end them (pg_stat_activity shows them; take no backup meanwhile), then {again}.",
    ),
    Rule(
        Cause.STATEMENT_TIMEOUT,
        words(r"canceling statement due to statement timeout"),
        "A statement{migration} ran longer than the database's statement_timeout allows.",
        "The statement was rolled back. A batched background migration makes smaller batches for the next attempt.",
        "Run it while the instance is quiet, with a longer statement_timeout if it happens again: {again}.",
    ),
    Rule(
        Cause.CONCURRENT_MIGRATION,
        words(r"Failed to release advisory lock"),
        "db:migrate lost the lock that keeps others from migrating.",
        "The connection goes through PgBouncer in transaction mode, where this lock does not work. Migrations may have"
        " been done.",
        "Connect the deploy node to PostgreSQL itself, look at gitlab_fleet.upgrade.db_migrate_status, then {again}.",
    ),
    Rule(
        Cause.CONCURRENT_MIGRATION,
        words(r"ConcurrentMigrationError|another migration process is currently running"),
        "Another process is migrating the database.",
        "Only one may. It is another node that runs reconfigure, or a db:migrate that outlived its connection.",
        "Let it end, then {again}. Only the deploy node should have auto_migrate on.",
    ),
    Rule(
        Cause.DATABASE_DOWN,
        words(
            r"PG::ConnectionBad|PG::UnableToSend|PG::AdminShutdown|ActiveRecord::ConnectionNotEstablished"
            r"|ActiveRecord::NoDatabaseError|could not connect to server|server closed the connection unexpectedly"
            r"|connection to server (?:on socket|at) .{1,200}? failed|the database system is (?:starting up|shutting down)"
        ),
        "The database cannot be reached: {message}",
        "PostgreSQL or PgBouncer is down, refuses the connection, or is on another host. Nothing was changed after"
        " the connection was lost.",
        "See gitlab-ctl status postgresql and /var/log/gitlab/postgresql/current, start it, then {again}.",
    ),
    Rule(
        Cause.DATABASE_DOWN,
        words(r"PG::ReadOnlySqlTransaction|due to conflict with recovery"),
        "The database is read-only: {message}",
        "The connection leads to a replica, or a failover was under way. Nothing was changed after it.",
        "Point the deploy node at the leader (gitlab-ctl patroni members shows it), then {again}.",
    ),
    Rule(
        Cause.UNKNOWN_TASK,
        words(r"Don't know how to build task '(?P<task>[^']*)'"),
        "This GitLab has no Rake task {task}.",
        "Tasks that end in a database's name exist only with several databases, and each version has its own tasks."
        " A name with a bracket in it means that the arguments were cut or quoted wrongly.",
        "Use the task without the database's name, or see gitlab-rake --tasks on this version.",
    ),
    Rule(
        Cause.BAD_JSON,
        words(r"JSON::ParserError|Oj::ParseError"),
        "job_arguments reached the task as something that is no JSON.",
        "A comma without a backslash before it cuts the text, and quotes that a shell should have removed become part"
        " of it. Nothing was changed.",
        "Give job_arguments to gitlab_fleet.upgrade.bbm_finalize as a YAML list; it does the quoting.",
        before_work=True,
    ),
    Rule(
        Cause.UNKNOWN_STATUS,
        words(r"\b(?P<status>\d{1,5}) is not a known status value"),
        "A batched background migration has the status {status}, which the installed GitLab does not know.",
        "The database is of a newer GitLab than the code: the package was rolled back without the database.",
        "Restore the backup that was made with this version, or install the newer version again.",
    ),
    Rule(
        Cause.DATABASE_TOO_OLD,
        words(
            r"Your current database version is too old to be migrated"
            r"(?:\. You should upgrade to GitLab (?P<gitlab>\d+\.\d+(?:\.\d+)?))?"
        ),
        "The database is too old for the installed GitLab.",
        "A required stop was left out: this version no longer has the migrations from there to here. Nothing was changed.",
        "Roll back to the former version and upgrade through every stop of the path. The message names the next one.",
    ),
    Rule(
        Cause.DATABASE_TOO_OLD,
        words(r"Your version of PostgreSQL is no longer supported.{1,100}?version to (?P<postgresql>\d+)"),
        "PostgreSQL is too old for the new GitLab package, which needs {postgresql}.",
        "The package refused to be installed; the old version is still there.",
        "Upgrade PostgreSQL to {postgresql} (gitlab-ctl pg-upgrade, or at its provider), then {again}.",
        anywhere=True,
    ),
    *(
        Rule(
            Cause.INTERRUPTED,
            words(pattern),
            "The command was interrupted{signal_name}.",
            "Somebody or the system ended it; it is no error. A batched background migration that was being finished is"
            " left in status finalizing, which only another finalize resumes.",
            "When nothing speaks against it, {again}.",
        )
        for pattern in (
            r"^SignalException: (?P<signal>SIG[A-Z0-9]+)",
            r"^Interrupt:",
            r"canceling statement due to user request",
        )
    ),
    Rule(
        Cause.DATABASE_NOT_SPECIFIED,
        words(r"^[^\S\n]*Please specify the database[^\S\n]*$"),
        "The task wants to know which database is meant.",
        "This instance has several databases, so that the task without a database's name refuses. Nothing was changed.",
        "Use the task of one database, such as gitlab:background_migrations:finalize:main.",
    ),
    *(
        Rule(
            Cause.MISSING_ARGUMENT,
            words(pattern),
            "The argument {argument} is missing or malformed.",
            "Rake takes an empty argument for one that was not given. Nothing was changed.",
            "Give all arguments in one pair of brackets, without blanks outside of quotes.",
        )
        for pattern in (
            r"^[^\S\n]*Must specify (?:a )?(?P<argument>[a-z_]+(?: version)?) as an argument",
            r"^[^\S\n]*Must give a (?P<argument>version) argument that is a non-zero integer",
            r"^[^\S\n]*(?P<argument>Version) '[^'\n]*' must be a non-zero integer",
            r"(?P<argument>VERSION) is required",
            r"^[^\S\n]*(?P<argument>[A-Z_]+_SECONDS) must be a positive integer",
        )
    ),
    Rule(
        Cause.NOT_CONFIGURED,
        words(r"could not load (?P<file>\S+-rc)"),
        "GitLab is installed but not configured: {file} cannot be read.",
        "gitlab-ctl reconfigure has never run here, or the command was not run as root.",
        "Run gitlab-ctl reconfigure as root, then {again}.",
        anywhere=True,
    ),
    Rule(
        Cause.NOT_CONFIGURED,
        words(r"Schema migrations table does not exist yet"),
        "The database has no table schema_migrations.",
        "No GitLab has been set up in this database, or a restore ended after it had removed the tables.",
        "Check that database.yml leads to the right database; if so, restore the backup again.",
        anywhere=True,
    ),
    Rule(
        Cause.PATH_REFUSED,
        words(r"It is required to upgrade to the latest (?P<required>\d+\.\d+)\.x version first"),
        "The package refuses this upgrade: {required} comes first.",
        "The old version is still installed. GitLab's own list of required stops is stricter than this check.",
        "Upgrade to the newest {required} first, and through every stop of the path after it.",
        anywhere=True,
    ),
    Rule(
        Cause.BACKUP_BUSY,
        words(r"There is a backup and restore task in progress(?: \(PID (?P<pid>\d+)\))?"),
        "Another backup or restore is running.",
        "GitLab allows one at a time. The versions that first had this check refuse on the file of a dead one, too.",
        "Let it end, then {again}. If no such process lives, remove tmp/backup_restore.pid in the Rails directory.",
        anywhere=True,
    ),
    Rule(
        Cause.BACKUP_NOT_FOUND,
        words(r"The backup file (?P<path>\S+) does not exist!|No backups found in (?P<directory>\S+)"),
        "The backup to restore is not there.",
        "Its name is BACKUP followed by _gitlab_backup.tar, in the directory of backups. Nothing was changed.",
        "Give the name without _gitlab_backup.tar, and see that the user git can read the file.",
        anywhere=True,
    ),
    Rule(
        Cause.BACKUP_VERSION_MISMATCH,
        words(
            r"Your current GitLab version \((?P<installed>[^)\n]+)\) differs from the GitLab version in the backup!"
            r"(?:.{1,200}?version: (?P<backup>[\w.-]+))?"
        ),
        "The backup is of another version than the installed {installed}.",
        "Version and edition must be exactly the same. Nothing was changed.",
        "Install the version that the backup was made with, then restore.",
        anywhere=True,
    ),
    Rule(
        Cause.BACKUP_FILE_CHANGED,
        words(r"file changed as we read it"),
        "Files were written while the backup packed them.",
        "The part that they belong to is not whole.",
        "Make the backup with STRATEGY=copy (strategy: copy), or stop what writes to them, then {again}.",
        anywhere=True,
    ),
    Rule(
        Cause.BACKUP_NOT_ALLOWED,
        words(r"Permission denied @ (?:dir_s_mkdir|rb_sysopen|dir_initialize)"),
        "The user git may not write the backup, or may not read what is to be saved.",
        "gitlab-backup works as the user git, not as root.",
        "Let the directory of the backups belong to git (mode 0700), then {again}.",
        anywhere=True,
    ),
    Rule(
        Cause.DUMP_PROGRAM_TOO_OLD,
        words(r"aborting because of server version mismatch"),
        "The PostgreSQL server is newer than GitLab's pg_dump.",
        "pg_dump refuses a server of a later major version, and the backup has no dump then.",
        "Set postgresql['version'] in gitlab.rb to the server's major version, reconfigure, then {again}.",
        anywhere=True,
    ),
    Rule(
        Cause.OUTPUT_SUPPRESSED,
        words(r"STDOUT/STDERR suppressed for sensitive resource"),
        "gitlab-ctl reconfigure failed and does not show the output of what failed.",
        "GitLab 14.10 to 15.4 hides the output of its database migration.",
        "Read the newest /var/log/gitlab/gitlab-rails/gitlab-rails-db-migrate-*.log.",
        anywhere=True,
    ),
)
