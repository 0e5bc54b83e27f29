# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`gitlab-ctl upgrade-check`: who may be replaced, and the words that refuse."""

from __future__ import annotations

import pytest
from gitlab_ctl.release import Release
from gitlab_ctl.upgrade_check import find_refusal

OLD_PATHS = "https://docs.gitlab.com/ee/update/index.html#upgrade-paths"
NEW_PATHS = "https://docs.gitlab.com/ee/update/#upgrade-paths"
NEW_MAJOR = "https://docs.gitlab.com/ee/update/index.html#upgrading-to-a-new-major-version"


@pytest.mark.parametrize(
    ("installed", "old", "new", "refusal"),
    [
        ("14.10.5", "14.0.12-ee", "14.10.5-ee", None),
        ("15.0.5", "14.10.5-ee", "15.0.5-ee", None),
        (
            "15.0.5",
            "14.0.12-ee",
            "15.0.5-ee",
            (
                "It seems you are upgrading from major version 14 to major version 15.",
                "It is required to upgrade to the latest 14.10.x version first before proceeding.",
                f"Please follow the upgrade documentation at {OLD_PATHS}",
            ),
        ),
        ("16.3.9", "15.11.13-ee", "16.3.9-ee", None),
        ("16.7.10", "16.3.9-ee", "16.7.10-ee", None),
        (
            "16.7.10",
            "16.1.0-ee",
            "16.7.10-ee",
            (
                "It seems you are upgrading from 16.1.0-ee to 16.7.10-ee.",
                "It is required to upgrade to the latest 16.3.x version first before proceeding.",
                f"Please follow the upgrade documentation at {NEW_PATHS}",
            ),
        ),
        (
            "17.0.0",
            "16.0.1-ee",
            "17.0.0-ee",
            (
                "It seems you are upgrading from 16.0.1-ee to 17.0.0-ee.",
                "It is required to upgrade to the latest 16.11.x version first before proceeding.",
                f"Please follow the upgrade documentation at {NEW_MAJOR}",
            ),
        ),
    ],
)
def test_refusal(installed, old, new, refusal):
    assert find_refusal(Release(installed), old, new) == list(refusal or ())


def test_before_16_4_a_major_jump_needs_exactly_the_minimum():
    """GitLab's own check has this gap between "at least" in the package and "equal" here."""
    assert find_refusal(Release("16.0.0"), "15.11.13", "16.0.0") == []
    assert find_refusal(Release("16.0.0"), "15.12.0", "16.0.0") != []


def test_the_environment_overrides_the_minimum():
    assert find_refusal(Release("15.0.5"), "14.3.6", "15.0.5", "14.3") == []
    assert find_refusal(Release("17.11.7"), "17.9.0", "17.11.7", "17.10") != []
