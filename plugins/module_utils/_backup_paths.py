# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Where an installation keeps what a backup holds, and where it puts the backup."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

CONFIGURATION = "/etc/gitlab"
CONFIGURATION_BACKUPS = f"{CONFIGURATION}/config_backup"
SECRETS = f"{CONFIGURATION}/gitlab-secrets.json"

# Of the Linux package, where gitlab.rb does not say otherwise.
_SHARED = "/var/opt/gitlab/gitlab-rails/shared"
_OMNIBUS_DATA: t.Mapping[str, str] = {
    "repositories": "/var/opt/gitlab/git-data/repositories",
    "uploads": "/var/opt/gitlab/gitlab-rails/uploads",
    "builds": "/var/opt/gitlab/gitlab-ci/builds",
    "artifacts": f"{_SHARED}/artifacts",
    "pages": f"{_SHARED}/pages",
    "lfs": f"{_SHARED}/lfs-objects",
    "packages": f"{_SHARED}/packages",
    "terraform_state": f"{_SHARED}/terraform_state",
    "ci_secure_files": f"{_SHARED}/ci_secure_files",
    "external_diffs": f"{_SHARED}/external-diffs",
    "registry": f"{_SHARED}/registry",
}
_SOURCE_DATA: t.Mapping[str, str] = {
    "repositories": "/home/git/repositories",
    "uploads": "public/uploads",
    "builds": "builds",
    "artifacts": "shared/artifacts",
    "pages": "shared/pages",
    "lfs": "shared/lfs-objects",
    "packages": "shared/packages",
    "terraform_state": "shared/terraform_state",
    "ci_secure_files": "shared/ci_secure_files",
    "external_diffs": "shared/external-diffs",
    "registry": "shared/registry",
}

# What gitlab-backup puts into its directory while it works, and takes away at its end. A leftover makes the next restore
# take it for a backup ("Non tarred backup found").
STAGED = (
    "backup_information.yml",
    "db",
    "repositories",
    "manifests",
    "tmp",
    *(f"{name}.tar.gz" for name in _OMNIBUS_DATA if name != "repositories"),
)

_SECTION = re.compile(r"^  backup:(.*?)(?=^ {0,2}[^\s#]|\Z)", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"""(?:^\s+|[{,]\s*)["']?path["']?:\s*["']?([^"'#,}\n]+)""", re.MULTILINE)


def configured_backup_path(gitlab_yml: str) -> str | None:
    """Return the directory of the backups that C(gitlab.yml) names, if it does. Targets need not have a YAML library."""
    section = _SECTION.search(gitlab_yml)
    path = _PATH.search(section.group(1)) if section else None
    return path.group(1).strip() if path else None


def named_backup_path(installation: Installation) -> str | None:
    """Return the directory of the backups that this installation's C(gitlab.yml) names, if it does."""
    root = installation.rails_root
    omnibus = installation.install_type == OMNIBUS
    settings = "/var/opt/gitlab/gitlab-rails/etc/gitlab.yml" if omnibus else f"{root}/config/gitlab.yml"
    with contextlib.suppress(OSError), open(settings, encoding="utf-8") as file:
        configured = configured_backup_path(file.read())
        return os.path.join(root, configured) if configured else None
    return None


def backup_path(installation: Installation) -> str:
    """Return the directory where this installation puts its backups."""
    usual = "/var/opt/gitlab/backups" if installation.install_type == OMNIBUS else "tmp/backups"
    return named_backup_path(installation) or os.path.join(installation.rails_root, usual)


def refuse_directory(directory: str, configured: str | None) -> None:
    """Refuse a directory that is not the one where C(gitlab-backup) would put the backup.

    :raises GitLabError: C(gitlab.yml) names another, ``configured``.
    """
    if configured is not None and os.path.realpath(configured) != os.path.realpath(directory):
        raise GitLabError(
            f"The backup would go to {configured}, which gitlab.yml names, and not to {directory}.",
            "Leave backup_path out; or set gitlab_rails['backup_path'] in gitlab.rb, and run gitlab-ctl reconfigure.",
        )


def data_paths(installation: Installation, parts: t.Iterable[str]) -> dict[str, str]:
    """Return where the data of some parts are, as the installation has it by default."""
    known = _OMNIBUS_DATA if installation.install_type == OMNIBUS else _SOURCE_DATA
    return {name: os.path.join(installation.rails_root, known[name]) for name in parts if name in known}
