# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is known of one backup: what is in it, and what was proved of it."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words, parse_moment
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

FORMAT = 1

SUFFIX = "_gitlab_backup.tar"

# The name of the check that backup_prove adds. What it found holds as long as the archive is the same.
RESTORE = "restore"

# The name of the check that a later verification adds when the files are not those that were verified.
FILES = "files"

# gitlab-backup hands its arguments on unquoted, and the id becomes the name of files and directories.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

_AGAIN = "Make a new one: run the playbook gitlab_fleet.upgrade.backup."


@dataclass(frozen=True)
class Archive:
    """A file, in bytes, and its checksum."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Configuration(Archive):
    """The archive of C(/etc/gitlab), and the files in it."""

    members: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """The package that GitLab was installed by."""

    name: str
    version: str


@dataclass(frozen=True)
class GitLab:
    """The GitLab that made the backup; ``edition`` is C(ee) or C(ce)."""

    version: str
    edition: str
    package: Package | None
    install_type: str


@dataclass(frozen=True)
class PostgreSQL:
    """The PostgreSQL server that was dumped."""

    version: str
    major: int


@dataclass(frozen=True)
class DatabaseDump:
    """One dump: where in the archive it is, and the rows that it holds, counted from its COPY blocks by table."""

    name: str
    dbname: str
    dump: str
    dump_size: int
    rows: t.Mapping[str, int]
    schema_migrations: int
    newest_schema_migration: str | None
    # Those schema migrations; None in a manifest that does not have them.
    versions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Part:
    """One part of the archive, such as the repositories: how many files, and their bytes."""

    name: str
    members: int
    size: int


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Proof:
    """The dumps were loaded into a scratch PostgreSQL; ``databases`` says what was counted there."""

    at: str
    where: str
    databases: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Copy:
    """A copy of the archive elsewhere, whose checksum was read there."""

    host: str
    path: str
    sha256: str
    verified_at: str


@dataclass(frozen=True)
class Manifest:
    """One backup. Moments are ISO 8601 in UTC, to the second."""

    id: str
    archive: Archive
    configuration: Configuration | None
    gitlab: GitLab
    postgresql: PostgreSQL
    databases: tuple[DatabaseDump, ...]
    parts: tuple[Part, ...]
    skipped: tuple[str, ...]
    secrets: t.Mapping[str, str]
    created_at: str
    verified_at: str
    verified: bool
    checks: tuple[Check, ...]
    proved_by_restore: Proof | None = None
    copies: tuple[Copy, ...] = ()
    format: int = FORMAT

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Manifest:
        """Read what :meth:`to_dict` returned.

        :raises GitLabError: it is not a manifest, or one of a later version of the collection.
        """
        if data.get("format") != FORMAT:
            raise GitLabError(
                f"The manifest has the format {data.get('format')!r}; this version of the collection reads {FORMAT}.",
                "Use the version of the collection that wrote it, or make a new backup.",
            )
        try:
            manifest = _manifest(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(f"{type(error).__name__}: {error}") from error
        check_id(manifest.id)
        for archive in (manifest.archive, manifest.configuration):
            if archive and not (isinstance(archive.size, int) and _SHA256.match(archive.sha256)):
                raise _damaged(f"size or sha256 of {archive.path}")
        if not isinstance(manifest.verified, bool) or parse_moment(manifest.created_at) is None:
            raise _damaged("verified or created_at")
        return manifest

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what :meth:`to_json` returned.

        :raises GitLabError: see :meth:`from_dict`.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise _damaged(str(error)) from error
        if not isinstance(data, dict):
            raise _damaged("not an object")
        return cls.from_dict(data)

    def to_dict(self) -> dict[str, t.Any]:
        """Return the manifest as it stands in its file."""
        data: dict[str, t.Any] = json.loads(json.dumps(asdict(self)))
        return data

    def to_json(self) -> str:
        """Return the text of its file."""
        return json.dumps(asdict(self), sort_keys=True, indent=2) + "\n"

    def failed_checks(self) -> list[Check]:
        """Return the checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def was_verified(self) -> bool:
        """Return whether the backup was verified once, though its files may have been found to be others since."""
        failed = self.failed_checks()
        return self.verified or (bool(failed) and all(check.name == FILES for check in failed))

    def with_copy(self, copy: Copy) -> Manifest:
        """Return the manifest with one more copy, which takes the place of a former one there."""
        others = tuple(one for one in self.copies if (one.host, one.path) != (copy.host, copy.path))
        return replace(self, copies=(*others, copy))


def check_id(name: str) -> str:
    """Return the id of a backup.

    :raises GitLabError: it cannot be one.
    """
    if not _ID.match(name) or name.endswith(SUFFIX):
        raise GitLabError(
            f"{name!r} cannot be the id of a backup.",
            f"Give letters, digits, '.', '_' and '-' without blanks, and leave out {SUFFIX}.",
        )
    return name


def same_version(one: str, other: str) -> bool:
    """Return whether a backup of one version can be restored by the other: number and edition must be the same.

    A version without an edition is a CE; GitLab compares the texts, lib/backup/metadata.rb.
    """
    left, right = GitLabVersion.parse(one), GitLabVersion.parse(other)
    return left == right and edition(one) == edition(other)


def edition(version: str) -> str:
    """Return the edition of the text of the VERSION file: C(ee), or C(ce), which it does not name."""
    return GitLabVersion.parse(version).edition or "ce"


def changed_since(recorded: Archive, found: Archive | None) -> str | None:
    """Return how a file differs from what was recorded of it, None when it does not; ``found`` is None for no file."""
    if found is None:
        return f"{recorded.path} is not there any more."
    if found.size != recorded.size:
        return f"{recorded.path} has {found.size} bytes, {recorded.size} when it was verified."
    if found.sha256 != recorded.sha256:
        return f"{recorded.path} has the sha256 {found.sha256}, {recorded.sha256} when it was verified."
    return None


def refusals(
    manifest: Manifest, version: str | None = None, now: datetime | None = None, max_age: int | None = None
) -> list[str]:
    """Return why a backup is not to be accepted by what its manifest says; nothing when it is.

    With ``version`` the backup must be of that version and edition; with ``now`` and ``max_age`` (seconds) it must not
    be older. That its files are still those that were verified is for :func:`changed_since` to say.
    """
    reasons = []
    if manifest.verified is not True:
        failed = manifest.failed_checks()
        why = "; ".join(f"{check.name}: {check.detail}" for check in failed) or "its verification did not end"
        reasons.append(f"The backup {manifest.id} is not verified ({why}).")
    if version is not None and not same_version(manifest.gitlab.version, version):
        reasons.append(f"The backup {manifest.id} is of GitLab {manifest.gitlab.version}, not of {version}.")
    created = parse_moment(manifest.created_at)
    if now is not None and max_age is not None and created is not None:
        age = (now - created).total_seconds()
        if age > max_age:
            reasons.append(f"The backup {manifest.id} is {in_words(age)} old; at most {in_words(max_age)} are allowed.")
    return reasons


def _manifest(data: t.Mapping[str, t.Any]) -> Manifest:
    configuration, proof = data["configuration"], data["proved_by_restore"]
    return Manifest(
        id=data["id"],
        archive=_read(Archive, data["archive"]),
        configuration=configuration
        and _read(Configuration, dict(configuration, members=tuple(configuration["members"]))),
        gitlab=_read(
            GitLab,
            dict(data["gitlab"], package=data["gitlab"]["package"] and _read(Package, data["gitlab"]["package"])),
        ),
        postgresql=_read(PostgreSQL, data["postgresql"]),
        databases=tuple(_dump(one) for one in data["databases"]),
        parts=tuple(_read(Part, one) for one in data["parts"]),
        skipped=tuple(data["skipped"]),
        secrets=dict(data["secrets"]),
        created_at=data["created_at"],
        verified_at=data["verified_at"],
        verified=data["verified"],
        checks=tuple(_read(Check, one) for one in data["checks"]),
        proved_by_restore=proof and _read(Proof, proof),
        copies=tuple(_read(Copy, one) for one in data["copies"]),
    )


def _dump(data: t.Mapping[str, t.Any]) -> DatabaseDump:
    versions = data.get("versions")
    return _read(DatabaseDump, dict(data, versions=None if versions is None else tuple(versions)))


_Record = t.TypeVar("_Record")


def _read(cls: type[_Record], data: t.Mapping[str, t.Any]) -> _Record:
    return cls(**data)


def _damaged(detail: str) -> GitLabError:
    return GitLabError(f"This is not a whole manifest of a backup ({detail}).", _AGAIN)
