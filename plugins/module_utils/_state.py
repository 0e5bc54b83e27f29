# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the collection keeps on a host: records of what was put away, and a journal of what was done by decision."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

STATE_DIRECTORY = "/var/lib/gitlab_fleet_upgrade"


def read_record(name: str, directory: str = STATE_DIRECTORY) -> dict[str, t.Any] | None:
    """Return the record ``name``, or None where there is none.

    :raises GitLabError: it is there, but cannot be read.
    """
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as file:
            return parse_record(file.read(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        # Never an invitation to remove it: it is only this user, or the disk, that cannot.
        raise GitLabError(f"Cannot read {path}: {error.strerror}.", "Run as root (become: true).", path=path) from error


def parse_record(text: bytes | str, path: str) -> dict[str, t.Any]:
    """Return the record that is the content of ``path``.

    :raises GitLabError: it is none.
    """
    try:
        record = json.loads(text)
    except ValueError as error:
        raise GitLabError(
            f"The record {path} cannot be read: {error}.",
            "Look at it, put right by hand what it speaks of, and remove it.",
            path=path,
        ) from error
    if not isinstance(record, dict):
        raise GitLabError(f"The record {path} is not a JSON object.", "Look at it and remove it.", path=path)
    return record


def write_record(name: str, record: t.Mapping[str, t.Any], directory: str = STATE_DIRECTORY) -> str:
    """Write the record ``name`` and return its path. A reader sees the old one or the new one, never a half.

    :raises GitLabError: it cannot be written.
    """
    path = os.path.join(directory, name)
    new = f"{path}.new"
    try:
        with _open_private(new, os.O_TRUNC, directory) as file:
            json.dump(record, file, sort_keys=True, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def remove_record(name: str, directory: str = STATE_DIRECTORY) -> None:
    """Remove the record ``name``; another run on the same host may have removed it first.

    :raises GitLabError: it cannot be removed.
    """
    path = os.path.join(directory, name)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_write(path, error) from error


def append_journal(name: str, entry: t.Mapping[str, t.Any], directory: str = STATE_DIRECTORY) -> str:
    """Add one line of JSON to the journal ``name`` and return its path.

    :raises GitLabError: it cannot be written.
    """
    path = os.path.join(directory, name)
    try:
        with _open_private(path, os.O_APPEND, directory) as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def _open_private(path: str, flag: int, directory: str) -> t.IO[str]:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600), "w", encoding="utf-8")


def _cannot_write(path: str, error: OSError) -> GitLabError:
    return GitLabError(
        f"Cannot write {path}: {error.strerror}.",
        "Run as root (become: true) and make room on the file system. Nothing is done that could not be recorded.",
        path=path,
    )
