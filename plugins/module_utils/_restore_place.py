# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether C(gitlab-backup restore) finds the archive that was verified, and may read it.

It takes an id, not a path: it looks in the directory that C(gitlab.yml) names, as GitLab's own user.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import SUFFIX
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import backup_path

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance

RC_FILE = "/opt/gitlab/etc/gitlab-rails-rc"
CHPST = "/opt/gitlab/embedded/bin/chpst"

_ACCOUNT = re.compile(r"^gitlab_(user|group)=[\"']?([\w.-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """The file that the restore would read: whether it is there, is the verified one, and can be read by ``user``."""

    path: str
    exists: bool
    same: bool
    readable: bool
    user: str


def account(rc: str) -> tuple[str, str]:
    """Return GitLab's user and group by the text of C(gitlab-rails-rc)."""
    named = dict(_ACCOUNT.findall(rc))
    return named.get("user", "git"), named.get("group", "git")


def problem(place: Place, verified: str) -> tuple[str, str] | None:
    """Return why the restore would not read the archive ``verified``, and what to do; None when it would."""
    if not place.exists:
        return (
            f"gitlab-backup looks for {place.path}, and there is no such file; what was verified is {verified}.",
            f"Link it there: ln {verified} {place.path} (or copy it, when it is another file system), owned by {place.user}.",
        )
    if not place.same:
        return (
            f"gitlab-backup would restore {place.path}, which is another file than the verified {verified}.",
            f"Move {place.path} away and link the verified one there: ln {verified} {place.path}.",
        )
    if not place.readable:
        return (
            f"{place.user}, as whom GitLab restores, cannot read {place.path}.",
            f"Run chown {place.user} {place.path}, and look at the rights of its directory (namei -l {place.path}).",
        )
    return None


def look(instance: Instance, manifest: Manifest) -> Place:
    """Look for the archive as C(gitlab-backup) would."""
    path = os.path.join(backup_path(instance.installation), f"{manifest.id}{SUFFIX}")
    rc = ""
    with contextlib.suppress(OSError), open(RC_FILE, encoding="utf-8") as file:
        rc = file.read()
    user, group = account(rc)
    exists, same = os.path.exists(path), False
    with contextlib.suppress(OSError):
        same = os.path.samefile(path, manifest.archive.path)
    asked = [CHPST, "-u", f"{user}:{group}", "/usr/bin/test", "-r", path]
    readable = exists and instance.runner.run(asked).rc == 0
    return Place(path, exists, same, readable, user)
