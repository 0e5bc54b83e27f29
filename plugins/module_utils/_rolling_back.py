# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether an instance is on its way back to a backup: what is in its databases then passes for nothing else."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import STATE_DIRECTORY, read_record

# Of the restore that began: {"backup", "sha256", "database_only", "unpacked", "finished_at"}.
RECORD = "restore.json"
PATH = os.path.join(STATE_DIRECTORY, RECORD)


def target(record: t.Mapping[str, t.Any] | None) -> str | None:
    """Return the id of the backup that the instance is being rolled back to by a record of :data:`RECORD`; None when it is not."""
    if not record or record.get("finished_at"):
        return None
    return str(record.get("backup") or "an unknown backup")


def text(backup: str) -> str:
    """Return what that means, as a clause that can stand in a list of reasons."""
    return (
        f"the instance is being rolled back to {backup} and did not get to the end, so that its databases can be empty or half"
        " restored; run the playbook rollback again, which goes on from there"
    )


def error(backup: str) -> GitLabError:
    """Return that sentence as an error."""
    what, _semicolon, remedy = text(backup).partition("; ")
    return GitLabError(
        f"{what[0].upper()}{what[1:]}.",
        f"{remedy[0].upper()}{remedy[1:]}. If it was put right in another way, remove {PATH}.",
        rolling_back=backup,
    )


def refuse() -> None:
    """Refuse what must not begin on an instance that is being rolled back.

    :raises GitLabError: it is, or the record that says so cannot be read.
    """
    backup = target(read_record(RECORD))
    if backup is not None:
        raise error(backup)
