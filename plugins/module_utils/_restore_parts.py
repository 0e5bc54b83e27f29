# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which parts of a backup a restore puts back, and whether that is what was asked for."""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import DATABASE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest

# Everything but the databases, as SKIP calls it.
FILES = (
    *("artifacts", "builds", "ci_secure_files", "external_diffs", "lfs", "packages", "pages", "registry"),
    *("repositories", "terraform_state", "uploads"),
)

# Older ones restore all that the backup has: https://gitlab.com/gitlab-org/gitlab/-/issues/19347
_SKIPS_SINCE = (14, 10, 0)


def settings(database_only: bool) -> dict[str, str]:
    """Return the variables for C(gitlab-backup restore)."""
    return {"SKIP": ",".join(FILES)} if database_only else {}


def problem(manifest: Manifest, database_only: bool) -> tuple[str, str] | None:
    """Return why a restore would put back more or less than was asked for, and what to do; None when it would not."""
    if not database_only:
        if "repositories" not in manifest.skipped:
            return None
        return (
            f"The backup has no repositories (left out: {', '.join(manifest.skipped)}).",
            "If nothing was pushed since it was made, restore the databases alone (rollback_restore_database_only: true, or"
            " database_only: true of the module); otherwise use a whole backup.",
        )
    files = [part.name for part in manifest.parts if part.name != DATABASE]
    if not files or GitLabVersion.parse(manifest.gitlab.version).release >= _SKIPS_SINCE:
        return None
    return (
        f"The backup has files too ({', '.join(files)}), and GitLab {manifest.gitlab.version} would restore them whatever it is told"
        " (14.10 was the first that can leave parts out): what was pushed or uploaded since would be lost.",
        "Restore everything, or use a backup that was made with the database alone (backup_database_only: true).",
    )
