# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether an instance can be rolled back to a backup, and what there is to do. Decides, reads nothing.

GitLab has no way back but the older package and the backup:
https://docs.gitlab.com/update/package/downgrade/, https://docs.gitlab.com/administration/backup_restore/restore_gitlab/.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _direct_connection,
    _restore_parts,
    _restore_place,
    _rolling_back,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import refusals, same_version
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import INSTALLED
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._postgresql_files import DATA
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection

# How the instance stands to the backup.
NOTHING = "nothing_to_do"
RESTORED = "restored"
ROLL_BACK = "roll_back"

FROM_BACKUP = "from_backup"
KEEP = "keep"

# What PostgreSQL's own upgrade asks for before the package changes.
REVERT = "revert"

# Unpacked beside itself, while what was there is kept until the end: GitLab asks for three times the archive. After an
# interrupted restore the unpacked part is there already.
SPACE_FACTOR = 3
SPACE_FACTOR_AGAIN = 2


@dataclass(frozen=True)
class Schema:
    """The schema migrations of one physical database.

    ``rows`` is None where the table does not exist; ``beyond`` are versions that neither the backup has nor the installed
    code has a file of.
    """

    name: str
    dbname: str
    rows: int | None
    newest: str | None
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostgreSQL:
    """The server that runs, whether the package brought it, the majors whose data were kept by an upgrade of it, and those
    whose programs the package that is installed brings."""

    major: int
    packaged: bool
    kept_majors: tuple[int, ...] = ()
    bundled_majors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What was read of an instance and of a backup."""

    manifest: Manifest
    version: str
    package_state: str | None
    schemas: t.Sequence[Schema]
    postgresql: PostgreSQL
    free: int
    # The archive as gitlab-backup would find it, and how it would reach PostgreSQL.
    place: _restore_place.Place
    connections: t.Sequence[Connection] = ()
    # What of the archives is not as verified, in words.
    changed_archives: t.Sequence[str] = ()
    # Why the old package cannot be had.
    package_missing: str | None = None
    # The sha256 of gitlab-secrets.json by node, None where there is none; and of the one in the configuration's archive.
    secrets: t.Mapping[str, str | None] = field(default_factory=dict)
    archived_secrets: str | None = None
    # What of that archive is not as verified, in words.
    changed_configuration: str | None = None
    record: _rolling_back.Record | None = None


@dataclass(frozen=True)
class Options:
    """What the operator asked for; ``node`` is the inventory name of the deploy node."""

    node: str
    configuration: str = FROM_BACKUP
    database_only: bool = False
    direct: _direct_connection.Direct = _direct_connection.AS_CONFIGURED


@dataclass(frozen=True)
class Reason:
    """Why rolling back is not possible, and what to do about it."""

    check: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


def is_finished(record: _rolling_back.Record | None, manifest: Manifest, database_only: bool = True) -> bool:
    """Return whether a record says that this very backup was restored to its end.

    The databases alone are enough only where ``database_only`` asks for no more.
    """
    if not record or not record.get("finished_at") or record.get("sha256") != manifest.archive.sha256:
        return False
    return database_only or not record.get("database_only")


def is_begun(record: _rolling_back.Record | None, manifest: Manifest) -> bool:
    """Return whether a record says that rolling back to this very backup has begun, and did not get to its end."""
    return bool(record and not record.get("finished_at") and record.get("sha256") == manifest.archive.sha256)


def state(facts: Facts, options: Options) -> str:
    """Return how the instance stands to the backup: nothing to do, restored but not finished, or to be rolled back.

    What is installed and what is in the databases has the first word: a record can be older than they are. That
    everything looks as it should is enough only where no record says that something has begun: the last table that is
    dropped can be the one that would tell.
    """
    manifest = facts.manifest
    if not same_version(facts.version, manifest.gitlab.version) or facts.package_state not in (None, INSTALLED):
        return ROLL_BACK
    if any(_is_foreign(schema, manifest) for schema in facts.schemas):
        return ROLL_BACK
    if is_finished(facts.record, manifest, options.database_only):
        return RESTORED
    return ROLL_BACK if facts.record else NOTHING


def _is_foreign(schema: Schema, manifest: Manifest) -> bool:
    """Whether the database is of a newer version than the code, or not whole."""
    if schema.rows is None or schema.beyond:
        return True
    dump = next((one for one in manifest.databases if one.dbname == schema.dbname), None)
    return bool(dump and dump.newest_schema_migration and (schema.newest or "") < dump.newest_schema_migration)


def postgresql_step(postgresql: PostgreSQL, wanted: int) -> str | Reason | None:
    """Return what PostgreSQL needs before the package changes: nothing, its own way back, or what forbids it.

    A dump of an older server loads into a newer one, but the older package may not bring the newer server.
    """
    if postgresql.major == wanted or (postgresql.major > wanted and not postgresql.packaged):
        return None
    if postgresql.major < wanted:
        return Reason(
            "postgresql",
            f"PostgreSQL {postgresql.major} runs, and the backup is of PostgreSQL {wanted}, whose dump an older server does not load.",
            f"Bring PostgreSQL to {wanted} first, or use an older backup.",
        )
    if wanted in postgresql.kept_majors and wanted in postgresql.bundled_majors:
        return REVERT
    missing = (
        f"there are no data in {DATA}.{wanted} any more, so that gitlab-ctl revert-pg-upgrade has nothing to go back to"
        if wanted not in postgresql.kept_majors
        else f"the installed package does not bring PostgreSQL {wanted} any more, so that gitlab-ctl revert-pg-upgrade does not know it"
    )
    return Reason(
        "postgresql",
        f"The upgrade changed PostgreSQL from {wanted} to {postgresql.major}, and {missing}.",
        f"If pg-upgrade was run with --tmp-dir, move the old data from there to {DATA}.{wanted}. Otherwise restore into an empty server:"
        " docs/troubleshooting.md, no way back for PostgreSQL.",
    )


def reasons(facts: Facts, options: Options) -> list[Reason]:
    """Return everything that forbids rolling back; nothing when it is possible."""
    found: list[Reason] = []
    for check in (_backup, _place, _versions, _package, _postgresql, _connection, _databases, _secrets, _parts, _space):
        found += check(facts, options)
    return found


def steps(facts: Facts, options: Options) -> list[str]:
    """Return what is to be done, in words and in its order."""
    manifest = facts.manifest
    there = state(facts, options)
    if there == NOTHING:
        return []
    result = []
    if there == ROLL_BACK:
        if postgresql_step(facts.postgresql, manifest.postgresql.major) == REVERT:
            result.append(f"go back to PostgreSQL {manifest.postgresql.major}")
        if not same_version(facts.version, manifest.gitlab.version) or facts.package_state not in (None, INSTALLED):
            result.append(f"install GitLab {manifest.gitlab.version} in the place of {facts.version}")
        if options.configuration == FROM_BACKUP:
            result.append("put the configuration of the backup back")
        result += ["reconfigure", "empty Redis", "drop everything in the databases"]
        what = "the databases" if options.database_only else "everything"
        result.append(f"restore {what} from {manifest.id}")
    return [*result, "start the services", "prove the result"]


def _backup(facts: Facts, options: Options) -> list[Reason]:
    again = "Use another backup, or roll forward."
    texts = [*refusals(facts.manifest), *facts.changed_archives]
    return [Reason("backup", text, again) for text in texts]


def _place(facts: Facts, options: Options) -> list[Reason]:
    problem = _restore_place.problem(facts.place, facts.manifest.archive.path)
    # A file that is not the verified one needs no word on its place.
    return [Reason("place", *problem)] if problem and not facts.changed_archives else []


def _connection(facts: Facts, options: Options) -> list[Reason]:
    version = GitLabVersion.parse(facts.manifest.gitlab.version)
    problem = _direct_connection.problem(options.direct, version, facts.connections, _direct_connection.RESTORE)
    return [Reason("connection", *problem)] if problem else []


def _versions(facts: Facts, options: Options) -> list[Reason]:
    installed, wanted = GitLabVersion.parse(facts.version), GitLabVersion.parse(facts.manifest.gitlab.version)
    if (installed.edition or "ce") != (wanted.edition or "ce"):
        return [
            Reason(
                "edition",
                f"GitLab {facts.version} is installed, and the backup is of {facts.manifest.gitlab.version}, another edition.",
                "A backup restores only into its own edition. Use a backup of this one.",
            )
        ]
    if installed < wanted:
        return [
            Reason(
                "version",
                f"GitLab {facts.version} is installed, which is older than the backup's {facts.manifest.gitlab.version}: that is no way back.",
                f"Name the backup that was made before the upgrade to {facts.version}.",
            )
        ]
    return []


def _package(facts: Facts, options: Options) -> list[Reason]:
    if facts.package_missing is None:
        return []
    return [Reason("package", facts.package_missing, "Name the file on the host with rollback_restore_package_file.")]


def _postgresql(facts: Facts, options: Options) -> list[Reason]:
    step = postgresql_step(facts.postgresql, facts.manifest.postgresql.major)
    if not isinstance(step, Reason):
        return []
    return [step]


def _databases(facts: Facts, options: Options) -> list[Reason]:
    saved = {one.dbname for one in facts.manifest.databases}
    unsaved = [schema.dbname for schema in facts.schemas if schema.dbname not in saved]
    if not unsaved:
        return []
    return [
        Reason(
            "databases",
            f"The backup has no dump of {', '.join(unsaved)}, which GitLab uses now; its data would be lost.",
            "Use a backup that has all databases.",
        )
    ]


def _secrets(facts: Facts, options: Options) -> list[Reason]:
    manifest = facts.manifest
    wanted = manifest.secrets.get(options.node)
    if wanted is None:
        return [
            Reason(
                "secrets",
                f"The manifest does not know the secrets of {options.node}; without them what is encrypted in the database cannot be read.",
                "Use a backup that was made by the role backup on this inventory.",
            )
        ]
    found = []
    if options.configuration == FROM_BACKUP:
        if manifest.configuration is None:
            found.append(
                Reason(
                    "configuration",
                    "The backup has no archive of the configuration.",
                    "Put the configuration of that time back by hand, then set rollback_restore_configuration: keep.",
                )
            )
        elif facts.changed_configuration:
            found.append(Reason("configuration", facts.changed_configuration, _bring_back(manifest)))
        elif not facts.changed_archives and facts.archived_secrets != wanted:
            found.append(
                Reason(
                    "secrets",
                    "The gitlab-secrets.json in the configuration's archive is not the one that the backup was made with.",
                    "Put the right file into /etc/gitlab, then set rollback_restore_configuration: keep.",
                )
            )
    elif facts.secrets.get(options.node) != wanted:
        found.append(
            Reason(
                "secrets",
                f"/etc/gitlab/gitlab-secrets.json of {options.node} is not the one that the backup was made with.",
                "Put that one back, or let rollback_restore_configuration be from_backup.",
            )
        )
    for node, digest in sorted(facts.secrets.items()):
        if node != options.node and digest != manifest.secrets.get(node, wanted):
            found.append(
                Reason(
                    "secrets",
                    f"/etc/gitlab/gitlab-secrets.json of {node} {'is not there' if digest is None else 'is another one than at the time of the backup'}.",
                    f"Copy it there from {options.node} (sha256 {manifest.secrets.get(node, wanted)}).",
                )
            )
    return found


def _bring_back(manifest: Manifest) -> str:
    file = os.path.basename(manifest.configuration.path) if manifest.configuration else ""
    copies = " or ".join(f"{one.host}:{os.path.join(os.path.dirname(one.path), file)}" for one in manifest.copies)
    return (
        f"Bring it back from {copies or 'a copy'}; or put the configuration of that time back by hand, then set"
        " rollback_restore_configuration: keep."
    )


def _parts(facts: Facts, options: Options) -> list[Reason]:
    problems = (
        _restore_parts.problem(facts.manifest, options.database_only),
        _rolling_back.half_restored(facts.record, options.database_only),
    )
    return [Reason("parts", *problem) for problem in problems if problem]


def _space(facts: Facts, options: Options) -> list[Reason]:
    # The record is older than the restore; what the restore itself wrote into it says nothing of unpacking.
    unpacked = is_begun(facts.record, facts.manifest) and (facts.record or {}).get("unpacked", True)
    times = SPACE_FACTOR_AGAIN if unpacked else SPACE_FACTOR
    needed = times * facts.manifest.archive.size
    if facts.free >= needed:
        return []
    return [
        Reason(
            "space",
            f"A restore needs about {needed} bytes in the folder of the archive, {times} times its size, and {facts.free} are free.",
            "Make room there; a restore on a full disk can hang for ever.",
        )
    ]
