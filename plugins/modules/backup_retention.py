#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_retention
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Remove old backups, but never one that may be the only way back
description:
  - Removes from the host the backups that this collection made and that are too many or too old, with their archive of the configuration
    and their manifest. What others made stays.
  - Whatever the options say, these verified backups never go, since each may be the only way back - the newest one of all, the last one of the
    installed version, and the last one of the newest version before that. One without some parts, or without the configuration, takes the
    place of none that has them, so that one of each kind may stay.
  - When something is to go, the checksums of those that stay for that are read first; one that has changed does not count as verified.
    Without a verified one nothing goes.
extends_documentation_fragment:
  - gitlab_fleet.upgrade.instance
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.destructive
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  destructive:
    support: full
options:
  keep:
    description:
      - How many verified backups to keep of those that have the same parts, or more. Others that are older than these go with the rest.
      - By default their number does not count.
    type: int
  max_age_days:
    description: How old a backup may become. By default its age does not count.
    type: int
seealso:
  - module: gitlab_fleet.upgrade.backup_verify
"""

EXAMPLES = r"""
---
- name: Keep the last three verified backups
  gitlab_fleet.upgrade.backup_retention:
    keep: 3

- name: See what would go
  gitlab_fleet.upgrade.backup_retention:
    max_age_days: 30
  check_mode: true
"""

RETURN = r"""
removed:
  description: The ids of the backups that were removed, or would be in check mode, the oldest first.
  type: list
  elements: str
  returned: success
  sample: [before-16.7]
kept:
  description: The ids of the others.
  type: list
  elements: str
  returned: success
  sample: [before-16.11]
files:
  description: The files that were removed, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: [/var/opt/gitlab/backups/before-16.7_gitlab_backup.tar]
"""

import os
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest, changed_since
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_retention import (
    Kept,
    to_remove,
    ways_back,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import RUN_FILE, Store, look_at
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance, argument_spec
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import parse_moment
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

DAY = 24 * 3600


class Retention:
    """The backups of this host, and which of them go."""

    def __init__(self, store: Store, installed: GitLabVersion) -> None:
        self._store = store
        self._installed = installed
        self._backups: dict[str, tuple[Kept, list[str]]] = {}
        self._manifests = {one.id: one for one in store.readable()}
        for name in store.ids(RUN_FILE):
            self._backups[name] = self._look(name)

    def choose(self, keep: int | None, max_age: int | None) -> list[str]:
        """Return the ids of those that go; those that never go are then known to be what they were."""
        now = datetime.now(timezone.utc)
        while True:
            kept = [one for one, _files in self._backups.values()]
            gone = to_remove(kept, now, self._installed, keep, max_age)
            stay = ways_back(kept, self._installed) if gone else []
            changed = [one for one in stay if not self._is_whole(self._manifests[one.id])]
            if not changed:
                return gone
            for one in changed:
                self._backups[one.id] = (replace(one, verified=False), self._backups[one.id][1])

    def files(self, name: str) -> list[str]:
        """Return the files of one backup that are there."""
        return [path for path in self._backups[name][1] if os.path.exists(path)]

    def remove(self, name: str) -> None:
        """Remove one backup.

        :raises GitLabError: a file of it cannot be removed.
        """
        for path in self.files(name):
            try:
                os.unlink(path)
            except OSError as error:
                raise GitLabError(f"Cannot remove {path}: {error.strerror}.", "Run as root (become: true).") from error
        self._store.forget(name)

    def ids(self) -> list[str]:
        """Return the ids of all backups."""
        return list(self._backups)

    def _look(self, name: str) -> tuple[Kept, list[str]]:
        run = self._store.read_run(name) or {}
        files = [path for path in (run.get("archive"), run.get("configuration")) if path]
        manifest = self._manifests.get(name)
        if manifest is None:
            made = os.stat(self._store.file(name, RUN_FILE)).st_mtime
            return Kept(name, datetime.fromtimestamp(made, timezone.utc), False, self._installed), files
        created = parse_moment(manifest.created_at) or datetime.fromtimestamp(0, timezone.utc)
        lacks = frozenset([*run.get("skipped", ()), *([] if manifest.configuration else ["configuration"])])
        return Kept(name, created, manifest.verified, GitLabVersion.parse(manifest.gitlab.version), lacks), files

    def _is_whole(self, manifest: Manifest) -> bool:
        found = look_at(manifest.archive.path, manifest.archive.size)
        return changed_since(manifest.archive, found) is None


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(keep={"type": "int"}, max_age_days={"type": "int"}),
        required_one_of=[("keep", "max_age_days")],
        supports_check_mode=True,
    )
    keep, days = module.params["keep"], module.params["max_age_days"]
    result: dict[str, t.Any] = {}
    try:
        for name, value in (("keep", keep), ("max_age_days", days)):
            if value is not None and value < 1:
                raise GitLabError(f"{name} cannot be {value}.", "Give a number from 1 on.")
        # The backup that is being restored could be one of those that go.
        _rolling_back.refuse()
        retention = Retention(Store(), Instance(module).version)
        before = retention.ids()
        gone = retention.choose(keep, days and days * DAY)
        files = [path for name in gone for path in retention.files(name)]
        if not module.check_mode:
            for name in gone:
                retention.remove(name)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    left = [name for name in before if name not in gone]
    result = {"changed": bool(gone), "removed": gone, "kept": left, "files": files}
    if module._diff:
        result["diff"] = {"before": {"backups": before}, "after": {"backups": left}}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
