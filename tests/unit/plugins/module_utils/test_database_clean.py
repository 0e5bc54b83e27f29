# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database_clean import not_restorable

MAIN, CI = "gitlabhq_production", "gitlabhq_production_ci"


@pytest.mark.parametrize(
    ("backup", "saved", "installed", "full", "expected"),
    [
        ("14.0.12-ee", [MAIN], "14.0.12-ee", [MAIN], []),
        ("14.0.12-ee", [MAIN, CI], "14.0.12-ee", [MAIN], []),
        ("14.0.12-ee", [MAIN], "14.0.12-ee", [MAIN, CI], [f"no dump of {CI},"]),
        ("14.0.12-ee", [], "14.0.12-ee", [MAIN], [f"no dump of {MAIN},"]),
        ("14.0.12-ee", [MAIN], "14.2.7-ee", [MAIN], ["is of GitLab 14.0.12-ee, and 14.2.7-ee is installed"]),
        ("14.0.12", [MAIN], "14.0.12-ee", [MAIN], ["is of GitLab 14.0.12, and 14.0.12-ee is installed"]),
        ("14.2.7-ee", [], "14.0.12-ee", [MAIN, CI], ["is of GitLab 14.2.7-ee", f"no dump of {MAIN}, {CI},"]),
    ],
)
def test_what_the_backup_would_not_bring_back_is_told(
    backup: str, saved: list[str], installed: str, full: list[str], expected: list[str]
) -> None:
    manifest: t.Any = SimpleNamespace(
        id="x", gitlab=SimpleNamespace(version=backup), databases=[SimpleNamespace(dbname=name) for name in saved]
    )
    found = not_restorable(manifest, installed, full)
    assert len(found) == len(expected)
    assert all(words in text for words, text in zip(expected, found, strict=True))
