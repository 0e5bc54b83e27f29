# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What gitlab.rb means: services, databases, database.yml, and keys that were removed."""

from __future__ import annotations

import pytest
import yaml
from gitlab_ctl.recipes.migrations import status_file
from gitlab_ctl.recipes.rails import database_yml
from gitlab_ctl.release import Release
from gitlab_ctl.removals import find_removals
from gitlab_ctl.settings import Settings

TWO_DATABASES = {"gitlab_rails": {"databases": {"ci": {"enable": True, "db_database": "gitlabhq_production_ci"}}}}
ONE_CONNECTION = {"gitlab_rails": {"databases": {"ci": {"enable": False}}}}


def settings(version, values=None):
    return Settings(Release(version), values or {})


@pytest.mark.parametrize(
    ("version", "values", "databases"),
    [
        ("14.0.12", {}, [("main", "gitlabhq_production", True)]),
        ("15.11.13", {}, [("main", "gitlabhq_production", True)]),
        ("16.3.9", {}, [("main", "gitlabhq_production", True), ("ci", "gitlabhq_production", False)]),
        ("17.11.7", ONE_CONNECTION, [("main", "gitlabhq_production", True)]),
        ("17.11.7", TWO_DATABASES, [("main", "gitlabhq_production", True), ("ci", "gitlabhq_production_ci", True)]),
        ("15.4.6", {"gitlab_rails": {"db_database": "x"}}, [("main", "x", True)]),
        ("17.11.7", {"gitlab_rails": {"db_database": "x"}}, [("main", "x", True), ("ci", "x", False)]),
    ],
)
def test_databases(version, values, databases):
    found = settings(version, values).databases
    assert [(entry.name, entry.database, entry.has_tasks) for entry in found] == databases


@pytest.mark.parametrize(
    ("values", "running"),
    [
        ({}, {"postgresql", "redis", "gitaly", "puma", "sidekiq", "nginx"}),
        ({"gitlab_rails": {"enable": False}}, {"postgresql", "redis", "gitaly"}),
        ({"gitlab_rails": {"enable": False}, "redis": {"enable": False}, "gitaly": {"enable": False}}, {"postgresql"}),
        ({"postgresql": {"enable": False}, "sidekiq": {"enable": False}}, {"redis", "gitaly", "puma", "nginx"}),
    ],
)
def test_services(values, running):
    wanted = settings("14.0.12", values)
    assert {
        name for name in ("postgresql", "redis", "gitaly", "puma", "sidekiq", "nginx") if wanted.enables(name)
    } == running


@pytest.mark.parametrize(
    ("values", "migrates"),
    [
        ({}, True),
        ({"gitlab_rails": {"auto_migrate": None}}, True),
        ({"gitlab_rails": {"auto_migrate": False}}, False),
        ({"gitlab_rails": {"enable": False}}, False),
    ],
)
def test_auto_migrate(values, migrates):
    assert settings("14.0.12", values).migrates is migrates


def test_a_key_below_something_that_is_no_hash_is_not_there():
    assert settings("14.0.12", {"puma": "yes"}).get("puma", "enable", default=7) == 7


def test_database_yml_with_two_databases():
    text = database_yml(settings("17.11.7", TWO_DATABASES))
    production = yaml.safe_load(text)["production"]
    assert list(production) == ["main", "ci"]
    assert [production[name]["database"] for name in ("main", "ci")] == [
        "gitlabhq_production",
        "gitlabhq_production_ci",
    ]
    assert not any("database_tasks" in entry for entry in production.values())


def test_database_yml_with_two_connections_leaves_tasks_to_main():
    production = yaml.safe_load(database_yml(settings("17.11.7")))["production"]
    assert production["ci"]["database_tasks"] is False
    assert "database_tasks" not in production["main"]


def test_database_yml_is_flat_before_databases_had_names():
    production = yaml.safe_load(database_yml(settings("14.0.12")))["production"]
    assert production["adapter"] == "postgresql"
    assert production["host"] == "/var/opt/gitlab/postgresql"


@pytest.mark.parametrize("version", ["14.0.12", "17.11.7"])
def test_database_yml_has_a_password_line(version):
    """Empty by default, as with the real package; tools must not show it when it is set."""
    assert any(line.strip() == "password:" for line in database_yml(settings(version)).splitlines())
    secret = database_yml(settings(version, {"gitlab_rails": {"db_password": 'a"b: c'}}))
    production = yaml.safe_load(secret)["production"]
    assert production.get("main", production)["password"] == 'a"b: c'


def test_status_file_follows_the_connection_and_the_revision():
    here = status_file(settings("17.11.7"), "0123456789a")
    assert here.name.startswith("db-migrate-")
    assert here.name.endswith("-0123456789a")
    assert status_file(settings("17.11.7"), "0123456789a") == here
    others = [
        status_file(settings("17.11.7"), "b1234567890"),
        status_file(settings("17.11.7", ONE_CONNECTION), "0123456789a"),
        status_file(settings("17.11.7", {"gitlab_rails": {"db_host": "198.18.1.2"}}), "0123456789a"),
        status_file(settings("17.11.7", {"gitlab_rails": {"db_port": 6432}}), "0123456789a"),
    ]
    assert len({here, *others}) == 5


@pytest.mark.parametrize(
    ("target", "installed", "found"),
    [
        ((14, 10), (14, 0), ["* unicorn was removed in 14.0."]),
        ((13, 12), (13, 12), []),
        ((18, 0), (17, 11), ["* unicorn was removed in 14.0.", "* git_data_dirs was removed in 18.0."]),
        ((18, 0), (16, 3), ["* unicorn was removed in 14.0."]),
    ],
)
def test_removed_keys_are_known_up_to_the_next_major(target, installed, found):
    values = {"unicorn": {"enable": True}, "git_data_dirs": {"default": {"path": "/x"}}, "puma": {"enable": True}}
    assert [removal.text for removal in find_removals(values, target, installed)] == found
