# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _own_python
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_paths import (
    backup_path,
    configured_backup_path,
    data_paths,
    named_backup_path,
    refuse_directory,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

# In the form of the Linux package's template.
OMNIBUS = """\
production: &base
  gitlab:
    host: gitlab.example.org
    path: /not/this
  ## Backup settings
  backup:
    # Relative paths are relative to Rails.root
    path: "/mnt/backups"   # (default: tmp/backups/)
    archive_permissions: # Permissions
    keep_time: 604800
  repositories:
    storages: {"default":{"path":"/nor/this"}}
"""


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (OMNIBUS, "/mnt/backups"),
        (OMNIBUS.replace('"', "'"), "/mnt/backups"),
        (OMNIBUS.replace('"/mnt/backups"', "/mnt/backups"), "/mnt/backups"),
        ('production: &base\n  backup: {"path": "/mnt/backups", "keep_time": null}\n', "/mnt/backups"),
        ('production: &base\n  backup: {"keep_time": null, "path": "/mnt/backups"}\n', "/mnt/backups"),
        (OMNIBUS.replace('    path: "/mnt/backups"   # (default: tmp/backups/)\n', ""), None),
        ("production: &base\n  gitlab:\n    path: /not/this\n", None),
        ("", None),
    ],
)
def test_the_directory_of_the_backups(text: str, path: str | None) -> None:
    assert configured_backup_path(text) == path


def test_a_self_compiled_gitlab_has_it_below_its_own_directory(tmp_path: pathlib.Path) -> None:
    installation = Installation.create("source", str(tmp_path))
    assert backup_path(installation) == f"{tmp_path}/tmp/backups"
    assert named_backup_path(installation) is None

    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gitlab.yml").write_text(OMNIBUS)
    assert backup_path(installation) == "/mnt/backups"
    assert data_paths(installation, ["uploads", "db"]) == {"uploads": f"{tmp_path}/public/uploads"}


def test_a_directory_that_gitlab_would_not_use_is_refused(tmp_path: pathlib.Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)

    refuse_directory(str(other), None)
    refuse_directory(f"{here}/", str(here))
    refuse_directory(str(tmp_path / "link"), str(here))
    with pytest.raises(GitLabError, match=f"would go to {here}, which gitlab.yml names, and not to {other}"):
        refuse_directory(str(other), str(here))


def test_code_that_did_not_come_in_a_zip_file_stays_where_it_is(tmp_path: pathlib.Path) -> None:
    kept = str(tmp_path / "code.zip")
    place = _own_python.place(kept)
    _own_python.keep_code(kept)

    assert (pathlib.Path(place) / "ansible_collections" / "gitlab_fleet" / "upgrade").is_dir()
    assert not list(tmp_path.iterdir())
