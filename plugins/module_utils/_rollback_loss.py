# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the databases have that a backup has not: rows counted now against the rows of the dump, and newer times.

Tables are named as pg_dump and C(quote_ident) write them, such as C(public.projects) or C(public."Odd name").
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

# Nothing that a user wrote is in these.
BOOKKEEPING = frozenset(
    f"public.{name}"
    for name in (
        *("ar_internal_metadata", "schema_migrations", "background_migration_jobs", "batched_background_migrations"),
        *("batched_background_migration_jobs", "batched_background_migration_job_transition_logs"),
        *(
            "detached_partitions",
            "postgres_async_indexes",
            "postgres_reindex_actions",
            "loose_foreign_keys_deleted_records",
        ),
    )
)

SNIPPETS = "public.snippets"
HANGING_ON_SNIPPETS = "public.snippet_"

# As many tables in one statement as PostgreSQL plans without effort.
CHUNK = 200

# Every table that has rows of its own, with its columns of times.
TABLES = Part(
    "tables",
    (),
    """
    SELECT coalesce(jsonb_object_agg(format('%%I.%%I', nspname, relname), times), '{}'::jsonb)
    FROM (
      SELECT nspname, relname, (
        SELECT coalesce(jsonb_object_agg(attname, atttypid = 'timestamptz'::regtype), '{}'::jsonb) FROM pg_attribute
        WHERE attrelid = relation.oid AND attname IN ('created_at', 'updated_at') AND NOT attisdropped
        AND atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)) AS times
      FROM pg_class relation JOIN pg_namespace namespace ON namespace.oid = relnamespace
      WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = relation.oid AND deptype = 'e')
    ) AS found
    """,
)

_WORD = r"(?:[a-z_][a-z0-9_$]*|\"(?:[^\"]|\"\")+\")"
_NAME = re.compile(rf"{_WORD}\.{_WORD}\Z")


@dataclass(frozen=True)
class Count:
    """One table now: its rows, how many of them were made or changed after the backup, and the newest time.

    The numbers of times are None where the table has no such column.
    """

    rows: int
    created_since: int | None = None
    updated_since: int | None = None
    newest: str | None = None


@dataclass(frozen=True)
class Difference:
    """One table that is not as in the backup; ``backup`` is None for a table that the backup does not have."""

    table: str
    backup: int | None
    now: int
    created_since: int | None
    updated_since: int | None
    newest: str | None

    @property
    def bookkeeping(self) -> bool:
        """Whether no user wrote it."""
        return self.table in BOOKKEEPING

    def to_dict(self) -> dict[str, t.Any]:
        """Return the JSON-safe form for results."""
        return dict(asdict(self), bookkeeping=self.bookkeeping)

    def __str__(self) -> str:
        name = self.table[len("public.") :] if self.table.startswith("public.") else self.table
        if self.backup is None:
            return f"{name}: {self.now} rows, of which the backup has none"
        words = []
        if self.now != self.backup:
            words.append(f"{abs(self.now - self.backup)} rows {'more' if self.now > self.backup else 'fewer'}")
        if self.created_since:
            words.append(f"{self.created_since} made since")
        if self.updated_since:
            words.append(f"{self.updated_since} changed since")
        if self.newest:
            words.append(f"newest {self.newest}")
        return f"{name}: {', '.join(words)}"


def check_name(name: str) -> str:
    """Return a table's name, which goes into SQL as it is.

    :raises GitLabError: it is not written as PostgreSQL writes names.
    """
    if not _NAME.match(name):
        raise GitLabError(
            f"{name!r} cannot be the name of a table.", "The manifest was changed by hand; make a new backup."
        )
    return name


def count_parts(tables: t.Mapping[str, t.Mapping[str, bool]], since: str | None) -> list[Part]:
    """Return the questions that count the rows of ``tables``, and with ``since`` (ISO, UTC) those that came after it.

    ``tables`` has for each name its columns of times, and whether those have a zone.
    """
    names = sorted(tables)
    parts = []
    for first in range(0, len(names), CHUNK):
        selects = [_select(check_name(name), tables[name], since) for name in names[first : first + CHUNK]]
        sql = (
            "SELECT jsonb_object_agg(name, jsonb_build_array(rows, created, updated, newest)) FROM (\n"
            + "\nUNION ALL ".join(selects)
            + ") AS counted"
        )
        parts.append(Part(f"rows_{first}", (), sql))
    return parts


def count(session: Session, since: str | None = None, only: t.Collection[str] | None = None) -> dict[str, Count]:
    """Count the rows of every table of a database, or of ``only`` some, as far as they exist."""
    tables: dict[str, dict[str, bool]] = session.read([TABLES])[TABLES.name]
    if only is not None:
        tables = {name: {} for name in tables if name in only}
    answers = session.read(count_parts(tables, since), since=since or "") if tables else {}
    return {name: Count(*values) for answer in answers.values() for name, values in answer.items()}


def differences(backup: t.Mapping[str, int], now: t.Mapping[str, Count]) -> list[Difference]:
    """Return the tables in which a restore would lose something, or in which something was removed since the backup.

    A table that is not there any more (a restore was interrupted) holds nothing that could be lost.
    """
    found = []
    for name in sorted(now):
        one = now[name]
        before = backup.get(name)
        touched = bool(one.created_since or one.updated_since)
        if one.rows != (before or 0) or (before is not None and touched):
            newest = one.newest if touched or before is None else None
            found.append(Difference(name, before, one.rows, one.created_since, one.updated_since, newest))
    return found


def not_as_in_backup(backup: t.Mapping[str, int], now: t.Mapping[str, Count]) -> dict[str, str]:
    """Return in words, by table, what a restored database has otherwise than its backup; nothing when it is the same."""
    wrong = {}
    for name, rows in sorted(backup.items()):
        if name not in now:
            wrong[name] = f"{name} is not there ({rows} rows in the backup)"
        elif now[name].rows != rows:
            wrong[name] = f"{name} has {now[name].rows} rows, {rows} in the backup"
    return wrong


def gone_with_snippets(backup: t.Mapping[str, int], now: t.Mapping[str, Count], removed: int) -> set[str]:
    """Return the tables that have fewer rows because the restore deleted ``removed`` snippets, as its log tells.

    At the end of the repositories GitLab deletes snippets whose repositories did not come back, and PostgreSQL what
    refers to them (lib/backup/repositories.rb). One more or one less is not explained by that.
    """
    if not removed or SNIPPETS not in now or backup.get(SNIPPETS, 0) - now[SNIPPETS].rows != removed:
        return set()
    hanging = {name for name in backup if name.startswith(HANGING_ON_SNIPPETS) and name in now}
    return {SNIPPETS, *(name for name in hanging if now[name].rows < backup[name])}


def _select(name: str, times: t.Mapping[str, bool], since: str | None) -> str:
    columns = []
    for column in ("created_at", "updated_at"):
        wanted = since is not None and column in times
        # GitLab keeps UTC in columns without a zone.
        moment = "%(since)s::timestamptz" + ("" if times.get(column) else " AT TIME ZONE 'UTC'")
        columns.append(f"count(*) FILTER (WHERE {column} > {moment})" if wanted else "NULL::bigint")
    present = [f"max({column}){'' if times[column] else ' AT TIME ZONE $$UTC$$'}" for column in sorted(times)]
    newest = f"greatest({', '.join(present)})" if present and since is not None else "NULL::timestamptz"
    utc = f"to_char({newest} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    table = name.replace("%", "%%")
    literal = table.replace("'", "''")
    return f"SELECT '{literal}' AS name, count(*) AS rows, {columns[0]} AS created, {columns[1]} AS updated, {utc} AS newest FROM ONLY {table}"
