# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from rollbacks import MANIFEST

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _restore_parts
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Part

WHOLE = ("db", "repositories", "uploads")
ALONE = ("repositories", "uploads")


@pytest.mark.parametrize(
    ("version", "parts", "skipped", "database_only", "said"),
    [
        ("14.0.12-ee", WHOLE, (), False, None),
        ("14.0.12-ee", WHOLE, ("registry",), False, None),
        ("14.0.12-ee", ("db",), ALONE, False, "has no repositories (left out: repositories, uploads)"),
        # Its restore knows no SKIP; what was left out of the backup it leaves alone.
        ("14.0.12-ee", WHOLE, (), True, "has files too (repositories, uploads)"),
        ("14.9.5-ee", WHOLE, (), True, "14.10 was the first"),
        ("14.0.12-ee", ("db",), ALONE, True, None),
        ("14.10.0-ee", WHOLE, (), True, None),
        ("17.8.7-ee", WHOLE, (), True, None),
        ("17.8.7-ee", ("db",), ALONE, True, None),
    ],
)
def test_a_restore_puts_back_what_was_asked_for(
    version: str, parts: tuple[str, ...], skipped: tuple[str, ...], database_only: bool, said: str | None
) -> None:
    manifest = replace(
        MANIFEST,
        gitlab=replace(MANIFEST.gitlab, version=version),
        parts=tuple(Part(name, 1, 1) for name in parts),
        skipped=skipped,
    )
    found = _restore_parts.problem(manifest, database_only)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert said in found[0]
        assert found[1]


def test_the_files_are_left_out_by_their_names_only_where_that_was_asked_for() -> None:
    assert _restore_parts.settings(False) == {}
    (skip,) = _restore_parts.settings(True).values()
    assert set(WHOLE) - {"db"} <= set(skip.split(","))
    assert "db" not in skip.split(",")
