# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the data lies that is not in the database, and gitlab.yml, which tells the application (facts 3.11, 5.2)."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from gitlab_ctl import layout
from gitlab_ctl.resources import Converge
from gitlab_ctl.settings import Settings

USER = "git"
REGISTRY_USER = "registry"
_BACKUP_MODE = 0o600
_BUILDS = layout.DATA / "gitlab-ci/builds"
_SSH = layout.DATA / ".ssh"


def provide(run: Converge, settings: Settings) -> None:
    """The directories; the registry's belongs to a user of its own, who lets Rails in by group."""
    for path, mode in _directories(settings):
        run.directory(path, USER, mode)
    run.link(layout.PUBLIC / "uploads", _uploads(settings))
    if has_registry(settings):
        run.user(REGISTRY_USER, layout.DATA / "registry", "/bin/false")
        run.directory(registry(settings), REGISTRY_USER, 0o770, USER)


def gitlab_yml(settings: Settings) -> str:
    """The part of the real file that a backup reads; JSON is YAML."""
    shared = _shared(settings)
    production: dict[str, t.Any] = {
        "gitlab": {"host": settings.external_url.split("://")[-1]},
        "gitlab_shell": {"authorized_keys_file": str(_SSH / "authorized_keys")},
        "backup": {
            "path": str(_backups(settings)),
            "archive_permissions": settings.get("gitlab_rails", "backup_archive_permissions", default=_BACKUP_MODE),
            "keep_time": settings.get("gitlab_rails", "backup_keep_time"),
            "pg_schema": settings.get("gitlab_rails", "backup_pg_schema"),
        },
        "repositories": {"storages": {"default": {"path": str(_git_data(settings) / "repositories")}}},
        "uploads": {"storage_path": str(layout.PUBLIC)},
        "gitlab_ci": {"builds_path": str(_BUILDS)},
        "artifacts": {"path": str(shared / "artifacts")},
        "pages": {"path": str(shared / "pages")},
        "lfs": {"storage_path": str(shared / "lfs-objects")},
        "terraform_state": {"storage_path": str(shared / "terraform_state")},
        "registry": {"enabled": has_registry(settings), "path": str(registry(settings))},
        "packages": {"storage_path": str(shared / "packages")},
        "ci_secure_files": {"storage_path": str(shared / "ci_secure_files")},
        "external_diffs": {"storage_path": str(shared / "external-diffs")},
    }
    lines = (f"  {name}: {json.dumps(value)}" for name, value in production.items())
    return "production: &base\n" + "\n".join(lines) + "\n"


def rc_lines(settings: Settings) -> str:
    """What `gitlab-backup` has to know of the registry; nothing where there is none."""
    path, user = (str(registry(settings)), REGISTRY_USER) if has_registry(settings) else ("", "")
    return f"registry_dir='{path}'\nregistry_user='{user}'\nregistry_group='{user}'\n"


def has_registry(settings: Settings) -> bool:
    """As with the real package, an address of its own switches it on."""
    return bool(settings.get("registry", "enable", default=settings.get("registry_external_url") is not None))


def registry(settings: Settings) -> Path:
    return Path(settings.get("gitlab_rails", "registry_path", default=str(_shared(settings) / "registry")))


def _directories(settings: Settings) -> t.Iterator[tuple[Path, int]]:
    shared = _shared(settings)
    yield _git_data(settings), 0o700
    yield _git_data(settings) / "repositories", 0o2770
    yield shared, 0o751
    for name in (
        "artifacts",
        "lfs-objects",
        "packages",
        "terraform_state",
        "ci_secure_files",
        "external-diffs",
        "tmp",
        "cache",
    ):
        yield shared / name, 0o700
    yield shared / "pages", 0o750
    yield _uploads(settings), 0o700
    yield _BUILDS.parent, 0o755
    yield _BUILDS, 0o700
    yield _SSH, 0o700
    if settings.get("gitlab_rails", "manage_backup_path", default=True):
        yield _backups(settings), 0o700


def _shared(settings: Settings) -> Path:
    return Path(settings.get("gitlab_rails", "shared_path", default=str(layout.RAILS_DATA / "shared")))


def _uploads(settings: Settings) -> Path:
    return Path(settings.get("gitlab_rails", "uploads_directory", default=str(layout.RAILS_DATA / "uploads")))


def _backups(settings: Settings) -> Path:
    return Path(settings.get("gitlab_rails", "backup_path", default=str(layout.DATA / "backups")))


def _git_data(settings: Settings) -> Path:
    return Path(settings.get("git_data_dirs", "default", "path", default=str(layout.DATA / "git-data")))
