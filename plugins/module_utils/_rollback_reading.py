# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads what :mod:`_rollback` decides by: the files of a backup, and the instance. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import tarfile
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import difference
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._postgresql_files import (
    SERVICE,
    broken_off,
    read_files,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback import PostgreSQL, Schema
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import VERSIONS

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import DatabaseDump, Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

SECRETS = "gitlab-secrets.json"
SERVER = Part("server", (), "SELECT to_jsonb(current_setting('server_version_num')::int / 10000)")


def find_manifest(store: Store, name: str | None) -> Manifest:
    """Return the manifest of the backup that is meant: by its id, or the newest verified one.

    Whether it can be relied on is for others to say.

    :raises GitLabError: there is none.
    """
    manifest = store.read(name) if name else store.newest_verified()
    if manifest is None:
        missing = f"The backup {name} has no manifest" if name else "There is no verified backup"
        known = ", ".join(store.ids()) or "none"
        raise GitLabError(f"{missing} on this host.", f"Name one of those that are known here: {known}.")
    return manifest


def changed_archives(manifest: Manifest) -> list[str]:
    """Return how the archive that is restored differs from the one that was verified; reads it from end to end."""
    text = difference(manifest.archive)
    return [text] if text else []


def archived_secrets(path: str) -> str | None:
    """Return the sha256 of the secrets in the archive of C(/etc/gitlab), None when they are not in it.

    :raises GitLabError: it cannot be read.
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and member.name.split("/")[-2:] == ["gitlab", SECRETS]:
                    return hashlib.sha256(content.read()).hexdigest()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise GitLabError(
            f"The archive of the configuration {path} cannot be read: {error}.", "Use another backup.", path=path
        ) from error
    return None


def free_bytes(path: str) -> int:
    """Return what is free on the file system of a folder.

    :raises GitLabError: the folder is not there.
    """
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise GitLabError(
            f"Cannot look at {path}: {error.strerror}.", "Check that it is mounted.", path=path
        ) from error
    return status.f_bavail * status.f_frsize


def read_postgresql(session: Session) -> PostgreSQL:
    """Return which PostgreSQL runs.

    :raises GitLabError: none answers; it says so where that is since a change of the major was broken off.
    """
    packaged, files = os.path.isdir(SERVICE), read_files()
    try:
        major = session.read([SERVER])[SERVER.name]
    except GitLabError as error:
        found = broken_off(files) if packaged else None
        if found is None:
            raise
        raise GitLabError(f"{error.msg} {found[0]}", f"{found[1]} Then run this again.", **error.details) from error
    return PostgreSQL(major, packaged, files.kept, files.bundled)


def _is_of(dump: DatabaseDump, version: str) -> bool:
    """Whether a backup has a schema migration. A newer GitLab can bring ones with a lower number than the backup's newest."""
    if dump.versions is None:
        return version <= (dump.newest_schema_migration or "")
    return version in dump.versions


def read_schema(session: Session, manifest: Manifest, files: t.Collection[str]) -> Schema:
    """Return how the schema of a database stands to the installed code, whose migrations are ``files``, and to the backup."""
    versions: list[str] | None = session.read([VERSIONS]).get(VERSIONS.name)
    if versions is None:
        return Schema(session.name, session.dbname, None, None)
    dump = next((one for one in manifest.databases if one.dbname == session.dbname), None)
    beyond = tuple(version for version in versions if version not in files and not (dump and _is_of(dump, version)))
    return Schema(session.name, session.dbname, len(versions), versions[-1] if versions else None, beyond)
