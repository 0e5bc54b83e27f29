# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

# Geo's tracking database and the former embedding database have no batched background migrations:
# https://docs.gitlab.com/development/database/multiple_databases/
WITHOUT_BATCHED_MIGRATIONS = frozenset({"geo", "embedding"})

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*): *(?P<value>.*?) *$")
_HINT = "Name the databases with the option databases, for example {main: gitlabhq_production}."


@dataclass(frozen=True)
class Connection:
    """One entry of C(database.yml): a name (main, ci, sec, ...) and where it leads."""

    name: str
    database: str
    host: str | None = None
    port: str | None = None
    database_tasks: bool = True
    username: str | None = None


@dataclass(frozen=True)
class Database:
    """One physical database. It has one copy of the tables, however many connections lead to it."""

    name: str
    dbname: str
    connections: tuple[str, ...]
    # The role that GitLab connects as, where it is known.
    username: str | None = None


@dataclass(frozen=True)
class Topology:
    """The physical databases of an instance, main first."""

    databases: tuple[Database, ...]
    # Connections that have Rake tasks of their own (database_tasks is not false).
    with_tasks: tuple[str, ...]

    def task_suffix(self, name: str) -> str:
        """Return what a database's tasks are called by: C(:ci), or nothing on an instance with one database.

        Rails defines the suffixed tasks only when several databases have tasks; then the bare ones refuse.
        """
        return f":{name}" if len(self.with_tasks) > 1 else ""

    def find(self, name: str) -> Database:
        """Return the database that a connection name leads to; raise :class:`GitLabError` for an unknown name."""
        for database in self.databases:
            if name in database.connections:
                return database
        known = ", ".join(database.name for database in self.databases)
        raise GitLabError(f"This instance has no database {name!r}.", f"It has: {known}.")


def parse_database_yml(text: str, environment: str = "production") -> list[Connection]:
    """Read the connections of one environment from C(database.yml).

    Reads the two shapes that GitLab writes: one flat mapping (up to 14.x) or one mapping for each database.
    Target hosts need not have PyYAML, hence no YAML library.

    :raises GitLabError: no connection could be read (anchors and flow mappings are not understood).
    """
    entries: dict[str, dict[str, str]] = {}
    lines = [match for match in map(_LINE.match, text.splitlines()) if match]
    inside, name = False, "main"
    for position, line in enumerate(lines):
        indent, key = len(line.group("indent")), line.group("key")
        value = re.sub(r"(^|\s+)#.*$", "", line.group("value")).strip("\"'")
        following = len(lines[position + 1].group("indent")) if position + 1 < len(lines) else 0
        if indent == 0:
            inside, name = key == environment, "main"
        elif not inside:
            continue
        elif indent == 2 and value:
            entries.setdefault("main", {}).setdefault(key, value)
        elif indent == 2 and following > 2:
            name = key
        elif indent == 4:
            entries.setdefault(name, {}).setdefault(key, value)
    connections = [
        Connection(
            name=entry,
            database=values["database"],
            host=values.get("host") or None,
            port=values.get("port") or None,
            database_tasks=values.get("database_tasks", "true") != "false",
            username=values.get("username") or None,
        )
        for entry, values in entries.items()
        if values.get("database")
    ]
    if not connections:
        raise GitLabError(f"No database of the {environment} environment could be read from database.yml.", _HINT)
    return connections


def build_topology(connections: t.Iterable[Connection]) -> Topology:
    """Group connections by the physical database that they lead to."""
    groups: dict[tuple[str | None, str | None, str], list[Connection]] = {}
    tasks: list[str] = []
    for connection in sorted(connections, key=lambda entry: (entry.name != "main", entry.name)):
        if connection.name in WITHOUT_BATCHED_MIGRATIONS:
            continue
        groups.setdefault((connection.host, connection.port, connection.database), []).append(connection)
        if connection.database_tasks:
            tasks.append(connection.name)
    databases = tuple(
        Database(members[0].name, members[0].database, tuple(member.name for member in members), members[0].username)
        for members in groups.values()
    )
    if not databases:
        raise GitLabError("No database is configured for this instance.", _HINT)
    return Topology(databases, tuple(tasks))


def topology_from_option(databases: t.Mapping[str, str]) -> Topology:
    """Return the topology that the operator named: connection name to database name."""
    return build_topology(Connection(str(name), str(database)) for name, database in databases.items())
