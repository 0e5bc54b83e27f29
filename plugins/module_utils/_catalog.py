# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a table, index, view or sequence looks like in the database, for a person to compare with a migration."""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import ExistingObject

COLUMN = "column"
# In PostgreSQL's errors a table, an index, a view or a sequence is a relation; Rails itself speaks of an index.
RELATION_KINDS = frozenset({"relation", "table", "index", "view", "sequence"})

# The name is compared as text, not cast to regclass, which would fold it to small letters and read quotes and dots.
RELATION = Part(
    "relation",
    (),
    """
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', relation.relname,
      'schema', namespace.nspname,
      'kind', CASE relation.relkind
        WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
        WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index' WHEN 'S' THEN 'sequence' ELSE relation.relkind::text END,
      'size_bytes', pg_total_relation_size(relation.oid),
      'columns', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', attribute.attname,
          'type', format_type(attribute.atttypid, attribute.atttypmod),
          'nullable', NOT attribute.attnotnull,
          'default', pg_get_expr(def.adbin, def.adrelid)) ORDER BY attribute.attnum), '[]'::jsonb)
        FROM pg_attribute attribute
        LEFT JOIN pg_attrdef def ON def.adrelid = attribute.attrelid AND def.adnum = attribute.attnum
        WHERE attribute.attrelid = relation.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped),
      'indexes', (
        SELECT coalesce(jsonb_agg(pg_get_indexdef(indexrelid) ORDER BY indexrelid), '[]'::jsonb)
        FROM pg_index WHERE indrelid = relation.oid OR indexrelid = relation.oid),
      'constraints', (
        SELECT coalesce(jsonb_agg(conname || ' ' || pg_get_constraintdef(oid) ORDER BY conname), '[]'::jsonb)
        FROM pg_constraint WHERE conrelid = relation.oid))), '[]'::jsonb)
    FROM pg_class relation
    JOIN pg_namespace namespace ON namespace.oid = relation.relnamespace
    WHERE relation.relname = %(relation)s AND pg_table_is_visible(relation.oid)
    """,
)


def describe_relation(session: Session, name: str) -> dict[str, t.Any] | None:
    """Return what the relation ``name`` on the search path looks like, or None where there is none."""
    found: list[dict[str, t.Any]] = session.read([RELATION], relation=name)[RELATION.name]
    return found[0] if found else None


def disproves(existing: ExistingObject, description: t.Mapping[str, t.Any] | None) -> bool:
    """Whether the database shows that an object, of which an error said that it exists, is not there.

    Only relations, and columns of them, are looked at; of functions, types and the like nothing is said.
    """
    if looked_at(existing) is None:
        return False
    if description is None:
        return True
    columns = {column["name"] for column in description["columns"]}
    return existing.kind == COLUMN and existing.name not in columns


def looked_at(existing: ExistingObject) -> str | None:
    """Return the name of the relation that an existing object is or belongs to, or None for another kind of object."""
    return existing.table or (existing.name if existing.kind in RELATION_KINDS else None)
