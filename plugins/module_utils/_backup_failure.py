# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the words of a backup that failed mean, and what to do."""

from __future__ import annotations

import re
import typing as t


class Meaning(t.NamedTuple):
    """``cause`` is a word for programs."""

    cause: str
    meaning: str
    remedy: str


_MEANINGS: tuple[tuple[re.Pattern[str], Meaning], ...] = (
    (
        re.compile(r"task in progress|Backup and restore in progress"),
        Meaning(
            "in_progress",
            "Another backup or restore runs on this instance, or one that was killed left its mark.",
            "Wait until it ends. If none runs, remove tmp/backup_restore.pid below the Rails directory.",
        ),
    ),
    (
        re.compile(r"No space left on device|ENOSPC"),
        Meaning(
            "no_space",
            "The file system of the backups is full.",
            "Make room there, or let gitlab_rails['backup_path'] point at a larger one.",
        ),
    ),
    (
        re.compile(r"server version mismatch"),
        Meaning(
            "pg_dump_version",
            "The server is newer than GitLab's own pg_dump.",
            "Upgrade GitLab's PostgreSQL client to the server's major version (gitlab.rb, postgresql['version']).",
        ),
    ),
    (
        re.compile(r"file changed as we read it"),
        Meaning(
            "file_changed",
            "Files were written while they were being packed.",
            "Use strategy: copy, or stop what writes to them.",
        ),
    ),
    (
        re.compile(r"Permission denied"),
        Meaning(
            "permission",
            "The user git may not write into the directory of the backups, or may not read what is to be saved.",
            "Let the directory belong to git (mode 0700).",
        ),
    ),
    (
        re.compile(r"could not connect to server|connection to server .{0,200} failed|too many clients"),
        Meaning("no_connection", "A database did not answer.", "Check gitlab-ctl status and database_host."),
    ),
)

_UNKNOWN = Meaning("unknown", "", "Read its output, and run this again.")


def explain(output: str) -> Meaning:
    """Return what the output of a backup that failed means."""
    return next((meaning for pattern, meaning in _MEANINGS if pattern.search(output)), _UNKNOWN)
