# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of releases, against the facts read from Omnibus tags."""

from __future__ import annotations

import pytest
from gitlab_ctl.release import Release, format_series, parse_series
from hypothesis import given
from hypothesis import strategies as st

# version, MIN_VERSION, PG_MIN, automatic PostgreSQL upgrade
PACKAGE_SCRIPTS = [
    ("13.12.15", "13.0", 11, True),
    ("14.0.12", "13.12", 12, True),
    ("14.2.7", "14.0", 12, True),
    ("14.3.6", "14.0", 12, True),
    ("14.10.5", "14.0", 12, True),
    ("15.0.5", "14.10", 12, False),
    ("15.4.6", "15.0", 12, False),
    ("15.11.13", "15.0", 12, True),
    ("16.0.0", "15.11", 13, True),
    ("16.3.9", "15.11", 13, False),
    ("16.7.10", "16.3", 13, False),
    ("16.11.10", "16.7", 13, True),
    ("17.1.8", "16.11", 14, False),
    ("17.5.5", "17.3", 14, False),
    ("17.8.7", "17.5", 14, False),
    ("17.11.7", "17.8", 14, True),
    ("18.2.8", "17.11", 16, False),
    ("18.5.7", "18.2", 16, False),
    ("18.11.11", "18.8", 16, True),
    ("19.2.4", "18.11", 17, False),
    ("19.3.0", "19.2", 17, False),
]

MIGRATION_RESOURCES = [
    ("14.0.12", "bash[migrate gitlab-rails database]", 16, False),
    ("14.10.5", "bash[migrate gitlab-rails database]", 16, True),
    ("15.0.5", "bash[migrate gitlab-rails database]", 16, True),
    ("15.4.6", "bash[migrate gitlab-rails database]", 18, True),
    ("15.11.13", "bash_hide_env[migrate gitlab-rails database]", 18, False),
    ("16.3.9", "bash_hide_env[migrate gitlab-rails database]", 20, False),
    ("18.2.8", "bash_hide_env[migrate gitlab-rails database]", 20, False),
]


@pytest.mark.parametrize(("version", "minimum", "postgresql", "upgrades"), PACKAGE_SCRIPTS)
def test_package_scripts(version, minimum, postgresql, upgrades):
    release = Release(version)
    assert format_series(release.oldest_predecessor) == minimum
    assert release.oldest_postgresql == postgresql
    assert release.upgrades_postgresql is upgrades


@pytest.mark.parametrize(("version", "name", "line", "hidden"), MIGRATION_RESOURCES)
def test_migration_resource(version, name, line, hidden):
    assert Release(version).migration_resource == (name, line)
    assert Release(version).hides_migration_output is hidden


@pytest.mark.parametrize(
    ("ability", "first"),
    [
        ("checks_every_jump", "16.4.0"),
        ("may_skip_config_check", "18.2.0"),
        ("has_restart_except", "17.2.0"),
        ("connects_to_ci", "16.0.0"),
    ],
)
def test_abilities_begin_with_a_release(ability, first):
    major, minor = parse_series(first)
    before = f"{major}.{minor - 1}.9" if minor else f"{major - 1}.11.9"
    assert getattr(Release(first), ability) is True
    assert getattr(Release(before), ability) is False


@pytest.mark.parametrize(
    ("version", "checks"), [("13.12.15", False), ("14.0.12", True), ("16.4.0", True), ("16.5.0", False)]
)
def test_legacy_storage_is_checked_for_a_while(version, checks):
    assert Release(version).checks_legacy_storage is checks


@pytest.mark.parametrize("version", ["", "14", "14.0", "14.0.12-ee", "v14.0.12", "14.0.12.1", "13.10.0", "0.0.0"])
def test_what_is_no_known_release_is_refused(version):
    with pytest.raises(ValueError, match="GitLab"):
        Release(version)


@given(st.tuples(st.integers(0, 99), st.integers(0, 99)), st.sampled_from(["", ".3", ".3-ee", "-pre"]))
def test_series_round_trip(series, rest):
    assert parse_series(format_series(series) + rest) == series
