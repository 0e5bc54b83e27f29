# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What GitLab's error texts say, as a typed cause with what is needed to act on it."""

from __future__ import annotations

import json
import re
import signal
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure_configuration import (
    Configuration,
    find_unfinished,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure_rules import RULES, Cause, Rule
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import job_arguments_json, shell_command
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import (
    MIGRATING,
    MigrationRun,
    RakeError,
    RubyException,
    applied_migrations,
    clean,
    find_error,
)

__all__ = ["Cause", "Configuration", "Diagnosis", "ExistingObject", "MigrationRun", "applied_migrations", "diagnose"]

FINALIZE_TASK = "gitlab:background_migrations:finalize"

_EXISTS = re.compile(
    r"PG::Duplicate(?P<class>\w+):\s+\w+:\s+(?:(?P<kind>[a-z][a-z ]*?) \"(?P<name>[^\"]+)\""
    r"(?: (?:of|for|on) \w+ \"(?P<table>[^\"]+)\")?)?"
)
# ActiveRecord looks for an index itself before it asks the database to make it.
_INDEX_EXISTS = re.compile(r"Index name '(?P<name>[^']+)' on table '(?P<table>[^']+)' already exists")

_JOB_FILE = re.compile(
    r"/gitlab/background_migration/(?!batching_strategies/|batched_migration_job)([a-z][a-z0-9_/]*)\.rb:\d+:in"
)
_ENGINE = re.compile(r"/gitlab/database/background_migration/batched_migration_(?:runner|wrapper)\.rb:\d+")
_SUGGESTIONS = re.compile(r"^Did you mean\?((?:\s+[\w:]+)+)", re.MULTILINE)
_FAILED = re.compile(
    r"(?:rake|rails) aborted!|Chef Infra Client failed|Infra Phase failed|ShellCommandFailed|^psql: (?:error|FATAL)",
    re.MULTILINE,
)
# How Chef introduces why a resource failed.
_HAD_AN_ERROR = re.compile(r" had an error: (\S[^\n]*)$", re.MULTILINE)
_SIGNALS = {number.value: number.name for number in signal.Signals}


@dataclass(frozen=True)
class ExistingObject:
    """What a migration was about to make and found there. PostgreSQL calls tables and indexes a relation."""

    kind: str
    name: str | None = None
    table: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What a command's output says about its failure, for people and for programs."""

    cause: Cause
    # What happened, what it means, what to do next: one to three sentences each.
    summary: str
    meaning: str
    remedy: str
    exception_class: str | None = None
    exception_message: str | None = None
    # The schema migration that was running, and its database where the lines tell (from about 15.0).
    migration_version: str | None = None
    migration_name: str | None = None
    database: str | None = None
    # The batched background migration that must be finished, or that failed.
    configuration: Configuration | None = None
    existing_object: ExistingObject | None = None
    # More of the cause, by the names of the groups in the rules: task, suggestions, id, argument, signal, ...
    details: dict[str, t.Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """Return the same with JSON's types alone."""
        return {**asdict(self), "cause": self.cause.value}


class _Finding(t.NamedTuple):
    """What one way of looking found; the context is added once, by :func:`diagnose`."""

    cause: Cause
    summary: str
    meaning: str
    remedy: str
    configuration: Configuration | None = None
    existing_object: ExistingObject | None = None
    details: t.Mapping[str, t.Any] = {}


class _Evidence:
    """The parts of the output that all ways of looking share."""

    def __init__(self, output: str) -> None:
        self.text = clean(output)
        self.error: RakeError = find_error(self.text) or RakeError((), "", None)
        # The exceptions that ended the last run; earlier output may tell of other failures.
        self.scope = str(self.error) or self.text
        self.exception = _principal(self.error.exceptions)
        unfinished = [run for run in applied_migrations(output) if run.state == MIGRATING]
        self.migration: MigrationRun | None = unfinished[-1] if unfinished else None

    @property
    def in_finalize(self) -> bool:
        """True if a task that finishes a batched background migration failed."""
        return (self.error.task or "").startswith(FINALIZE_TASK)

    @property
    def in_engine(self) -> bool:
        """True if a batched background migration was at work."""
        return bool(_ENGINE.search(self.error.backtrace))

    @property
    def message(self) -> str:
        """The first line of what went wrong, as GitLab put it."""
        return str(self.exception).split("\n", 1)[0] if self.exception else ""

    @property
    def again(self) -> str:
        """How to repeat what failed."""
        task = self.error.task or ""
        if self.in_finalize:
            return "run gitlab_fleet.upgrade.bbm_finalize again"
        if task.startswith("db:migrate") and "status" not in task:
            return "run gitlab_fleet.upgrade.db_migrate again"
        return "repeat what failed"


def diagnose(output: str, exit_code: int | None = None) -> Diagnosis:
    """Say why a command of GitLab failed.

    :param output: stdout and stderr of one run, or the log of a reconfigure.
    :param exit_code: where it is known, a failure without a text is one too; negative or above 128 for a signal.

    Never raises. The cause is C(NONE) where nothing tells of a failure, which is no proof of success.
    """
    evidence = _Evidence(output)
    finding = (
        _unfinished(evidence)
        or _object_exists(evidence)
        or _by_rule(evidence)
        or _failed_job(evidence)
        or _unexplained(evidence, exit_code)
    )
    exception, migration = evidence.exception, evidence.migration
    configuration = finding.configuration or _job(evidence.error)
    return Diagnosis(
        finding.cause,
        finding.summary,
        finding.meaning,
        finding.remedy,
        exception_class=exception.name if exception else None,
        exception_message=exception.message if exception else None,
        migration_version=migration.version if migration else None,
        migration_name=migration.name if migration else None,
        database=(configuration.database if configuration else None) or (migration.database if migration else None),
        configuration=configuration,
        existing_object=finding.existing_object,
        details=dict(finding.details),
    )


def _unfinished(evidence: _Evidence) -> _Finding | None:
    found = find_unfinished(evidence.scope)
    if not found:
        return None
    if found.complete:
        what = f"{found.job_class_name} on {found.table_name}"
        remedy = (
            f"Run gitlab_fleet.upgrade.bbm_finalize with job_class_name: {found.job_class_name}, table_name:"
            f" {found.table_name}, column_name: {found.column_name}, job_arguments: {json.dumps(found.job_arguments)}"
            f"{_by_hand(found)}, then repeat what failed."
        )
    else:
        what = "(the text does not tell which)"
        remedy = "See which in gitlab_fleet.upgrade.bbm_status and finish it with gitlab_fleet.upgrade.bbm_finalize."
    return _Finding(
        Cause.BBM_UNFINISHED,
        f"The batched background migration {what} is {found.status}, not finished.",
        "What comes next needs all of its rows changed, and stopped before it changed anything itself.",
        remedy,
        configuration=found,
    )


def _by_hand(found: Configuration) -> str:
    names = [found.job_class_name or "", found.table_name or "", found.column_name or ""]
    try:
        command = shell_command(FINALIZE_TASK, [*names, job_arguments_json(found.job_arguments or [])])
    except GitLabError:
        # Nothing that a row holds is refused, but a text may say anything.
        return ""
    return f" (by hand: {command})"


def _object_exists(evidence: _Evidence) -> _Finding | None:
    match = _EXISTS.search(evidence.scope)
    index = _INDEX_EXISTS.search(evidence.scope)
    if match:
        found = ExistingObject(match.group("kind") or match.group("class").lower(), *match.group("name", "table"))
    elif index:
        found = ExistingObject("index", *index.group("name", "table"))
    else:
        return None
    run = evidence.migration
    what = f"{found.kind} {found.name or '(its name is not in the text)'}" + (
        f" of {found.table}" if found.table else ""
    )
    who = f"the migration {run.version} {run.name}" if run else "a migration that the text does not name"
    return _Finding(
        Cause.OBJECT_EXISTS,
        f"The {what}, which {who} makes, is already in the database.",
        "A restore or a rollback left it there: GitLab's restore does not remove everything before it fills the"
        " database. The migration is not recorded as done.",
        "If the object has the shape that the migration gives it, run gitlab_fleet.upgrade.mark_migration_complete"
        + (f" with version: {run.version}" if run else "")
        + " and gitlab_fleet.upgrade.db_migrate again. Otherwise restore the backup into an empty database.",
        existing_object=found,
    )


def _by_rule(evidence: _Evidence) -> _Finding | None:
    for rule in RULES:
        if rule.before_work and (evidence.in_engine or not evidence.in_finalize):
            continue
        match = rule.pattern.search(evidence.text if rule.anywhere else evidence.scope)
        if match:
            return _apply(rule, match, evidence)
    return None


def _apply(rule: Rule, match: re.Match[str], evidence: _Evidence) -> _Finding:
    details: dict[str, t.Any] = {name: value for name, value in match.groupdict().items() if value is not None}
    run = evidence.migration
    which = details.get("job_class_name") or details.get("id")
    context = {
        "again": evidence.again,
        "message": evidence.message or _line_of(evidence.scope, match.start()),
        "migration": f" of the migration {run.version} {run.name}" if run else "",
        "which": f" {which}" if which else "",
        "signal_name": f" by {details['signal']}" if "signal" in details else "",
    }
    words = {**details, **context}
    summary, meaning, remedy = (text.format(**words) for text in (rule.summary, rule.meaning, rule.remedy))
    job_class_name = details.pop("job_class_name", None)
    suggestions = _SUGGESTIONS.search(evidence.scope) if rule.cause is Cause.UNKNOWN_TASK else None
    if suggestions:
        details["suggestions"] = suggestions.group(1).split()
    configuration = Configuration(job_class_name) if job_class_name else None
    return _Finding(rule.cause, summary, meaning, remedy, configuration=configuration, details=details)


def _failed_job(evidence: _Evidence) -> _Finding | None:
    if not (evidence.exception and (evidence.in_finalize or evidence.in_engine)):
        return None
    return _Finding(
        Cause.JOB_FAILED,
        f"A batched background migration failed: {evidence.message.rstrip('.')}.",
        "GitLab's engine stops at the first job that raises and leaves the migration in status finalizing.",
        "Remove what makes the job fail (bbm_status shows it as last_error), then run"
        " gitlab_fleet.upgrade.bbm_finalize again.",
    )


def _unexplained(evidence: _Evidence, exit_code: int | None) -> _Finding:
    number = 0 if exit_code is None else -exit_code if exit_code < 0 else exit_code - 128
    if number in _SIGNALS:
        return _killed(_SIGNALS[number])
    if not _FAILED.search(evidence.text) and not evidence.exception and not exit_code:
        return _Finding(Cause.NONE, "The output tells of no failure.", "This is no proof of success.", "")
    chef = _HAD_AN_ERROR.findall(evidence.text)
    lines = [*evidence.text.split("\n"), *chef[-1:]]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output at all")
    code = "" if exit_code is None else f" with exit code {exit_code}"
    run = evidence.migration
    where = f" in the migration {run.version} {run.name}" if run else ""
    return _Finding(
        Cause.UNKNOWN,
        f"The command failed{where}{code}: {(evidence.message or last).rstrip('.')}.",
        "This collection does not know this failure.",
        "Read the whole output and the logs in /var/log/gitlab/gitlab-rails; search GitLab's issues for the message.",
    )


def _killed(name: str) -> _Finding:
    return _Finding(
        Cause.INTERRUPTED,
        f"The command was killed by {name}.",
        "It could not clean up: a job of a batched background migration that was running keeps the status running, and"
        " a finalize waits for it until it is an hour old. A SIGKILL that nobody sent is the kernel's, out of memory.",
        "See dmesg for the kernel's reason and gitlab_fleet.upgrade.bbm_status for the job, then repeat what failed.",
        details={"signal": name},
    )


def _principal(exceptions: t.Sequence[RubyException]) -> RubyException | None:
    """Return the exception that says most: PostgreSQL's own, or the first that is not db:migrate's wrapper."""
    from_database = [exception for exception in exceptions if exception.name.startswith("PG::")]
    others = [exception for exception in exceptions if exception.name != "StandardError"]
    return next(iter([*from_database, *others, *exceptions]), None)


def _job(error: RakeError) -> Configuration | None:
    """Return the class of the job that raised, from the name of its file, as Rails' autoloader does."""
    match = _JOB_FILE.search(error.backtrace)
    if not match:
        return None
    parts = match.group(1).split("/")
    return Configuration("::".join("".join(word.capitalize() for word in part.split("_")) for part in parts))


def _line_of(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].split("\n", 1)[0].strip()
