# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where data lies, what gitlab.yml tells of it, and which configuration archives may be deleted."""

from __future__ import annotations

import pytest
import yaml
from gitlab_ctl import backup_etc
from gitlab_ctl.recipes import storage
from gitlab_ctl.release import Release
from gitlab_ctl.settings import Settings


def gitlab_yml(values):
    return yaml.safe_load(storage.gitlab_yml(Settings(Release("16.3.9"), values)))["production"]


def test_defaults():
    written = gitlab_yml({})
    assert written["backup"] == {
        "path": "/var/opt/gitlab/backups",
        "archive_permissions": 0o600,
        "keep_time": None,
        "pg_schema": None,
    }
    assert written["repositories"]["storages"]["default"]["path"] == "/var/opt/gitlab/git-data/repositories"
    assert written["lfs"]["storage_path"] == "/var/opt/gitlab/gitlab-rails/shared/lfs-objects"
    assert written["registry"]["enabled"] is False


@pytest.mark.parametrize(
    ("values", "place", "expected"),
    [
        ({"gitlab_rails": {"backup_path": "/mnt/backups"}}, ("backup", "path"), "/mnt/backups"),
        ({"gitlab_rails": {"backup_keep_time": 604800}}, ("backup", "keep_time"), 604800),
        ({"gitlab_rails": {"backup_archive_permissions": 0o640}}, ("backup", "archive_permissions"), 0o640),
        ({"gitlab_rails": {"shared_path": "/mnt/shared"}}, ("artifacts", "path"), "/mnt/shared/artifacts"),
        (
            {"git_data_dirs": {"default": {"path": "/mnt/git"}}},
            ("repositories", "storages"),
            {"default": {"path": "/mnt/git/repositories"}},
        ),
        ({"registry_external_url": "http://registry.example.com"}, ("registry", "enabled"), True),
        (
            {"registry_external_url": "http://registry.example.com", "registry": {"enable": False}},
            ("registry", "enabled"),
            False,
        ),
    ],
)
def test_settings_of_gitlab_rb(values, place, expected):
    section, key = place
    assert gitlab_yml(values)[section][key] == expected


def test_rc_file_tells_of_the_registry_only_where_there_is_one():
    without = storage.rc_lines(Settings(Release("16.3.9"), {}))
    assert without == "registry_dir=''\nregistry_user=''\nregistry_group=''\n"
    with_one = storage.rc_lines(Settings(Release("16.3.9"), {"registry_external_url": "http://r.example.com"}))
    assert (
        with_one == "registry_dir='/var/opt/gitlab/gitlab-rails/shared/registry'\n"
        "registry_user='registry'\nregistry_group='registry'\n"
    )


def test_only_old_configuration_archives_with_a_date_are_deleted(tmp_path, capsys):
    names = [
        "gitlab_config_1600000000_2020_09_13.tar",
        "gitlab_config_1700000000_2023_11_14.tar",
        "gitlab_config_before_the_move.tar",
        "other_1600000000_2020_09_13.tar",
    ]
    for name in names:
        (tmp_path / name).touch()
    backup_etc.delete_older(tmp_path, 1650000000)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [f"  Removed {tmp_path}/{names[0]}", "done. Removed 1 older configuration backups."]
