# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalog of a real PostgreSQL answers is in C(tests/integration/schema_migrations)."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _catalog
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import ExistingObject

TABLE = {"name": "lfs_objects", "kind": "table", "columns": [{"name": "id"}, {"name": "oid"}]}


@pytest.mark.parametrize(
    ("existing", "relation", "found", "disproved"),
    [
        (ExistingObject("relation", "lfs_objects"), "lfs_objects", TABLE, False),
        (ExistingObject("relation", "lfs_objects"), "lfs_objects", None, True),
        (ExistingObject("index", "index_x", "lfs_objects"), "lfs_objects", TABLE, False),
        (ExistingObject("column", "oid", "lfs_objects"), "lfs_objects", TABLE, False),
        (ExistingObject("column", "size", "lfs_objects"), "lfs_objects", TABLE, True),
        (ExistingObject("column", "oid", "lfs_objects"), "lfs_objects", None, True),
        (ExistingObject("constraint", "fk_x", "lfs_objects"), "lfs_objects", TABLE, False),
        (ExistingObject("constraint", "fk_x", "lfs_objects"), "lfs_objects", None, True),
        (ExistingObject("function", "trigger_1"), None, None, False),
        (ExistingObject("type", "mood"), None, None, False),
        (ExistingObject("table"), None, None, False),
    ],
)
def test_what_is_looked_at_and_what_it_disproves(
    existing: ExistingObject, relation: str | None, found: dict[str, t.Any] | None, disproved: bool
) -> None:
    assert _catalog.looked_at(existing) == relation
    assert _catalog.disproves(existing, found) is disproved
