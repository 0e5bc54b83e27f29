# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether an instance is on its way back to a backup: what is in its databases then passes for nothing else."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import STATE_DIRECTORY, read_record

# Of the restore that began: {"backup", "sha256", "database_only", "finished_at"}, and whether
# "unpacked": it may have unpacked its archive,
# "files": repositories and files may be half restored, by it or by one before it,
# "rollback": the role rollback_restore began it, which removes the record when every node is proved.
RECORD = "restore.json"
PATH = os.path.join(STATE_DIRECTORY, RECORD)

Record = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Rollback:
    """One that did not get to its end; ``restored`` is whether its restore did, and was proved."""

    backup: str
    restored: bool = False

    @property
    def text(self) -> str:
        """What that means, as a clause that can stand in a list of reasons."""
        state = (
            f"the instance was restored from {self.backup}, but its rollback did not get to the end, so that nodes can still"
            " have another version"
            if self.restored
            else f"the instance is being rolled back to {self.backup} and did not get to the end, so that its databases can be"
            " empty or half restored"
        )
        return f"{state}; run the playbook rollback again, which goes on from there"

    def error(self) -> GitLabError:
        """Return that sentence as an error."""
        what, _semicolon, remedy = self.text.partition("; ")
        return GitLabError(
            f"{what[0].upper()}{what[1:]}.",
            f"{remedy[0].upper()}{remedy[1:]}. If it was put right in another way, remove {PATH}.",
            rolling_back=self.backup,
        )


def target(record: Record | None) -> Rollback | None:
    """Return the rollback that is under way by a record of :data:`RECORD`; None when there is none.

    The end of a restore is the end of all only where the role has not begun it.
    """
    if not record or (record.get("finished_at") and not record.get("rollback")):
        return None
    return Rollback(str(record.get("backup") or "an unknown backup"), bool(record.get("finished_at")))


def files_begun(record: Record | None) -> bool:
    """Return whether a restore of repositories and files began, of whatever backup, that nobody saw the end of."""
    if not record or record.get("finished_at"):
        return False
    return bool(record.get("files", not record.get("database_only") and record.get("unpacked", True)))


def half_restored(record: Record | None, database_only: bool) -> tuple[str, str] | None:
    """Return why the databases alone would not be enough, and what to do about it; None when they are."""
    if not (database_only and files_begun(record)):
        return None
    return (
        f"A restore of everything began before ({(record or {}).get('backup')}) and did not get to its end: repositories and files can be"
        " half restored, which the databases alone do not put right.",
        "Restore everything (rollback_restore_database_only: false, or database_only: false of the module).",
    )


def begin(
    record: Record | None, backup: str, sha256: str, database_only: bool | None = None, rollback: bool = False
) -> dict[str, t.Any]:
    """Return the record to write before the first thing is changed; ``record`` is the one that is there.

    One of the same backup that is not finished says the same, and perhaps more.
    """
    rollback = rollback or bool(record and record.get("rollback"))
    if record and not record.get("finished_at") and record.get("sha256") == sha256:
        return dict(record, rollback=rollback)
    return {
        "backup": backup,
        "sha256": sha256,
        "database_only": database_only,
        "unpacked": False,
        "files": files_begun(record),
        "rollback": rollback,
        "finished_at": None,
    }


def restore(record: Record | None, backup: str, sha256: str, database_only: bool) -> dict[str, t.Any]:
    """Return the record to write before GitLab's restore is started."""
    return dict(
        begin(record, backup, sha256),
        database_only=database_only,
        unpacked=True,
        files=not database_only or files_begun(record),
    )


def finish(
    record: Record | None, backup: str, sha256: str, database_only: bool, finished_at: float
) -> dict[str, t.Any]:
    """Return the record to write when the restore was proved; ``finished_at`` is in seconds since 1970."""
    return dict(restore(record, backup, sha256, database_only), files=False, finished_at=finished_at)


def refuse() -> None:
    """Refuse what must not begin on an instance that is being rolled back.

    :raises GitLabError: it is, or the record that says so cannot be read.
    """
    rollback = target(read_record(RECORD))
    if rollback is not None:
        raise rollback.error()
