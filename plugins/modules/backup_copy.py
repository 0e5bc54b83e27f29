#!/usr/bin/python
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_copy
author:
  - The gitlab_fleet.upgrade authors (!UNKNOWN)
version_added: 0.1.0
short_description: Copy a verified backup to the controller
description:
  - Copies the archive of a verified backup, that of its configuration and its manifest to the controller, reads the checksums there, and
    notes the copy in the manifest.
  - The files are read in pieces, whoever the user of the connection is, so that their size does not matter, and a copy that was
    interrupted goes on where it stopped. A file that is there already with the right checksum is not copied again.
  - The archive of the configuration holds the keys to the data of the other one. Keep both where nobody else reads them.
extends_documentation_fragment:
  - gitlab_fleet.upgrade._attributes
  - gitlab_fleet.upgrade._attributes.actiongroup_gitlab
  - gitlab_fleet.upgrade._attributes.flow
attributes:
  action:
    support: full
  async:
    support: none
    details:
      - The controller does the work.
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - Only adds files on the controller.
  idempotent:
    support: full
options:
  id:
    description: The id of the backup.
    type: str
    required: true
  dest:
    description: The folder on the controller. The files go into a folder of the backup's id below one of the host's name.
    type: path
  copied:
    description:
      - Where there are copies of the archive whose checksum was read. They are noted in the manifest if the checksum is the right one. For copies
        that were made otherwise, for example to a third host.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The host that has the copy.
        type: str
        required: true
      path:
        description: The copy there.
        type: str
        required: true
      sha256:
        description: The checksum that was read there.
        type: str
        required: true
seealso:
  - module: gitlab_fleet.upgrade.backup_verify
"""

EXAMPLES = r"""
---
- name: Copy a backup to the controller
  gitlab_fleet.upgrade.backup_copy:
    id: before-16.11
    dest: /srv/gitlab-backups

- name: Note a copy that was made otherwise
  gitlab_fleet.upgrade.backup_copy:
    id: before-16.11
    copied:
      - host: store-1
        path: /srv/acme-1/before-16.11_gitlab_backup.tar
        sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
"""

RETURN = r"""
files:
  description: The files of the backup on the host, with their size in bytes and their sha256.
  type: list
  elements: dict
  returned: success
  sample:
    - path: /var/opt/gitlab/backups/before-16.11_gitlab_backup.tar
      size: 10240
      sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
manifest:
  description: The manifest, in the form of M(gitlab_fleet.upgrade.backup_verify).
  type: dict
  returned: success
  sample: {id: before-16.11, verified: true}
copies:
  description: The copies that the manifest knows, with the host, the path, the checksum, and when it was read.
  type: list
  elements: dict
  returned: success
  sample:
    - host: controller
      path: /srv/gitlab-backups/acme-1/before-16.11/before-16.11_gitlab_backup.tar
      sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      verified_at: "2023-11-21T03:11:00Z"
"""

from dataclasses import asdict
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Archive, Copy
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import iso


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "dest": {"type": "path"},
            "copied": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {name: {"type": "str", "required": True} for name in ("host", "path", "sha256")},
            },
        },
        supports_check_mode=True,
    )
    try:
        store = Store()
        before = manifest = store.require(module.params["id"], configuration=True)
        for copy in module.params["copied"]:
            if copy["sha256"] != manifest.archive.sha256:
                raise GitLabError(
                    f"The copy {copy['path']} on {copy['host']} has the sha256 {copy['sha256']}, the archive"
                    f" {manifest.archive.sha256}.",
                    "Remove the copy and run this again.",
                )
            known = [one for one in manifest.copies if (one.host, one.path) == (copy["host"], copy["path"])]
            if not known or known[0].sha256 != copy["sha256"]:
                moment = iso(datetime.now(timezone.utc)) or ""
                manifest = manifest.with_copy(Copy(copy["host"], copy["path"], copy["sha256"], moment))
        if manifest != before and not module.check_mode:
            store.write(manifest)
    except GitLabError as error:
        module.fail_json(**error.to_result())
    files = [manifest.archive, *([manifest.configuration] if manifest.configuration else [])]
    module.exit_json(
        changed=manifest != before,
        files=[asdict(Archive(one.path, one.size, one.sha256)) for one in files],
        manifest=manifest.to_dict(),
        copies=manifest.to_dict()["copies"],
    )


if __name__ == "__main__":
    main()
