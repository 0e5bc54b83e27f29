# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether a backup can be restored, by what is in it. Decides, reads nothing.

No exit status counts here: up to 15.x C(gitlab-backup) packs what is there when a part fails, and exits with 0.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_information
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    GITLAB_RB,
    PART_SUFFIX,
    SECRETS,
    ConfigurationContents,
    Contents,
    dump_path,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_dump import SCHEMA_MIGRATIONS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import (
    DATABASE,
    DISABLED,
    DONE,
    REPOSITORIES,
    Log,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Check, same_version
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_space import in_bytes
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

# Every version has these; what else there is, its log tells.
ALWAYS = (DATABASE, REPOSITORIES, "uploads", "builds", "artifacts", "pages", "lfs")

# No instance that was ever used has none of these.
KEY_TABLES = ("public.application_settings", "public.namespaces", "public.projects", "public.users")

_SHOWN = 5


@dataclass(frozen=True)
class Live:
    """A database as it is now: its tables, those that are partitions left out, and the rows of some."""

    tables: t.Sequence[str]
    rows: t.Mapping[str, int]
    schema_migrations: t.Sequence[str]


@dataclass(frozen=True)
class Expected:
    """What a backup must be.

    ``databases`` are the names of the physical databases, such as C(main) and C(ci). ``secrets`` are the checksums of
    C(gitlab-secrets.json) by node, None for a node that has none or did not answer. ``log`` is None for a backup that
    was made by somebody else, and ``configuration`` whether there must be an archive of the configuration.
    """

    version: str
    databases: t.Sequence[str]
    skip: t.Collection[str]
    log: Log | None
    live: t.Mapping[str, Live]
    secrets: t.Mapping[str, str | None]
    configuration: bool
    repository: str | None = None


def check(contents: Contents, configuration: ConfigurationContents | None, expected: Expected) -> tuple[Check, ...]:
    """Make all checks of a backup."""
    checks = [_archive(contents), *_information(contents, expected)]
    if expected.log is not None:
        checks.append(_log(expected.log))
    checks.append(_parts(contents, expected))
    if DATABASE not in expected.skip:
        for name in expected.databases:
            checks += _database(contents, name, expected.live.get(name))
    if expected.configuration:
        checks += [_configuration(configuration), _secrets(configuration, expected.secrets)]
    return tuple(checks)


def expected_parts(expected: Expected) -> list[str]:
    """Return the parts that must be in the archive."""
    done = expected.log.named(DONE) if expected.log else []
    disabled = expected.log.named(DISABLED) if expected.log else []
    wanted = dict.fromkeys([*ALWAYS, *done])
    # A database and repositories are never switched off.
    left_out = {*expected.skip, *(name for name in disabled if name not in (DATABASE, REPOSITORIES))}
    return [name for name in wanted if name not in left_out]


def skipped_parts(contents: Contents, expected: Expected) -> list[str]:
    """Return the parts that are not in the archive on purpose."""
    disabled = expected.log.named(DISABLED) if expected.log else []
    return sorted({*expected.skip, *disabled} - set(contents.parts))


def _archive(contents: Contents) -> Check:
    problem = contents.problems.get("")
    size = f"{in_bytes(contents.archive.size)}, sha256 {contents.archive.sha256}"
    return Check("archive", problem is None, f"{contents.archive.path}: {problem or size}")


def _information(contents: Contents, expected: Expected) -> list[Check]:
    if contents.information is None:
        return [Check("version", False, f"{_backup_information.FILE} is not in the archive.")]
    try:
        information = _backup_information.parse(contents.information)
        same = same_version(information.gitlab_version, expected.version)
    except GitLabError as error:
        return [Check("version", False, str(error))]
    of = f"the backup is of GitLab {information.gitlab_version}, {expected.version} is installed"
    asked = sorted(set(expected.skip) - _backup_information.NO_PARTS)
    said = ", ".join(information.skipped) or "nothing"
    return [
        Check("version", same, of),
        Check(
            "skipped",
            list(information.skipped) == asked,
            f"left out: {said}; to be left out: {', '.join(asked) or 'nothing'}",
        ),
    ]


def _log(log: Log) -> Check:
    if log.failures:
        return Check("log", False, f"{len(log.failures)} lines tell of a failure: {_some(log.failures, ' | ')}")
    if not log.finished:
        return Check("log", False, "gitlab-backup did not come to its end.")
    return Check("log", True, f"no line tells of a failure; {len(log.named(DONE))} parts were dumped")


def _parts(contents: Contents, expected: Expected) -> Check:
    wanted = expected_parts(expected)
    wrong = [f"{name} is missing" for name in wanted if name not in contents.parts]
    for name, (members, size) in contents.parts.items():
        problem = contents.problems.get(f"{name}{PART_SUFFIX}")
        if problem:
            wrong.append(f"{name}{PART_SUFFIX}: {problem}")
        elif name == REPOSITORIES and not size and expected.repository:
            wrong.append(f"{name} has no file, and {expected.repository}")
        elif name not in (REPOSITORIES, DATABASE) and members and not size:
            wrong.append(f"{name} is empty")
    return Check("parts", not wrong, "; ".join(wrong) or f"all are there: {', '.join(wanted)}")


def _database(contents: Contents, name: str, live: Live | None) -> list[Check]:
    path = dump_path(name)
    title = f"dump of {name}"
    dump = contents.dumps.get(path)
    if dump is None:
        missing = f"{path}: {contents.problems.get(path, 'it is not in the archive')}"
        return [Check(title, False, missing)]
    found = f"{path}: complete, {len(dump.rows)} tables with {sum(dump.rows.values())} rows"
    checks = [Check(title, True, found)]
    if not dump.schema_migrations:
        checks.append(Check(f"schema of {name}", False, f"{SCHEMA_MIGRATIONS} has no row in the dump."))
    elif live is None:
        checks.append(Check(f"schema of {name}", False, f"The database {name} could not be asked."))
    else:
        checks += [
            _schema(name, dump.schema_migrations, live.schema_migrations),
            _rows(name, dump.rows, live),
        ]
    return checks


def _schema(name: str, dumped: t.Sequence[str], live: t.Sequence[str]) -> Check:
    fewer, more = sorted(set(live) - set(dumped)), sorted(set(dumped) - set(live))
    if not fewer and not more:
        return Check(
            f"schema of {name}", True, f"{len(dumped)} schema migrations, newest {max(dumped)}, as in the database"
        )
    detail = [f"not in the dump: {_some(fewer)}"] if fewer else []
    detail += [f"not in the database: {_some(more)}"] if more else []
    return Check(f"schema of {name}", False, f"schema_migrations of dump and database differ; {'; '.join(detail)}")


def _rows(name: str, dumped: t.Mapping[str, int], live: Live) -> Check:
    missing = sorted(set(live.tables) - set(dumped))
    if missing:
        return Check(f"rows of {name}", False, f"{len(missing)} tables are not in the dump: {_some(missing)}")
    lost = [f"{table} ({rows} now)" for table, rows in live.rows.items() if rows and not dumped.get(table)]
    if lost:
        return Check(f"rows of {name}", False, f"without a row in the dump: {', '.join(lost)}")
    changed = [f"{table} {dumped[table]}, now {rows}" for table, rows in live.rows.items() if dumped[table] != rows]
    if changed:
        # Only what is newer than the dump can make the difference.
        text = f"changed since, as happens while the instance serves: {', '.join(changed)}"
        return Check(f"rows of {name}", True, text)
    return Check(f"rows of {name}", True, f"as in the database: {', '.join(live.rows) or 'no table to compare'}")


def _configuration(configuration: ConfigurationContents | None) -> Check:
    if configuration is None:
        return Check("configuration", False, "There is no archive of /etc/gitlab.")
    if configuration.problem:
        return Check("configuration", False, f"{configuration.archive.path}: {configuration.problem}")
    missing = [name for name in (GITLAB_RB, SECRETS) if configuration.find(name) is None]
    if missing:
        return Check("configuration", False, f"{configuration.archive.path} does not have {', '.join(missing)}.")
    return Check("configuration", True, f"{configuration.archive.path}: {len(configuration.files)} files")


def _secrets(configuration: ConfigurationContents | None, secrets: t.Mapping[str, str | None]) -> Check:
    unknown = sorted(node for node, checksum in secrets.items() if not checksum)
    if unknown or not secrets:
        return Check(
            "secrets", False, f"{SECRETS} is not there, or could not be read: {', '.join(unknown) or 'no node'}"
        )
    saved = configuration.find(SECRETS) if configuration else None
    other = sorted(node for node, checksum in secrets.items() if checksum != saved)
    if other:
        return Check("secrets", False, f"{SECRETS} differs from the one in the backup on {', '.join(other)}.")
    return Check("secrets", True, f"{SECRETS} is the same in the backup and on {', '.join(sorted(secrets))}")


def _some(texts: t.Sequence[str], glue: str = ", ") -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return glue.join(texts[:_SHOWN]) + more
