# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""By which way C(gitlab-backup) reaches PostgreSQL, and whether that way can carry a dump or a restore.

PgBouncer has to be gone round. The variables for that, and since when they are there and work:
https://docs.gitlab.com/administration/backup_restore/backup_gitlab/#bypassing-pgbouncer
"""

from __future__ import annotations

import contextlib
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import (
    WITHOUT_BATCHED_MIGRATIONS,
    parse_database_yml,
)

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

OPTIONS: dict[str, dict[str, t.Any]] = {
    "database_host": {"type": "str"},
    "database_port": {"type": "int"},
    "database_user": {"type": "str"},
    "database_overrides": {"type": "dict"},
}

PGBOUNCER_PORT = "6432"

BACKUP = "backup"
RESTORE = "restore"

_WHY_NOT = {
    BACKUP: "It pools transactions, and a dump through it may lack tables, or takes the instance down.",
    RESTORE: (
        "It pools transactions, and a restore is a long session with settings of its own, which takes the instance down or"
        " is left incomplete."
    ),
}

# GITLAB_BACKUP_PGHOST and its like were ignored there. Both ends belong to it.
_VARIABLES_BROKEN = (((15, 11, 0), (16, 6, 99)), ((16, 7, 0), (16, 7, 6)), ((16, 8, 0), (16, 8, 3)))
# With the name of a database in them: https://gitlab.com/gitlab-org/gitlab/-/merge_requests/133177
_FOR_ONE_DATABASE_SINCE = (16, 5, 0)

_NAME = re.compile(r"[A-Za-z]\w*\Z")


@dataclass(frozen=True)
class Server:
    """Where the operator says that PostgreSQL is; None leaves a thing to database.yml."""

    host: str | None = None
    port: int | None = None
    user: str | None = None

    @classmethod
    def create(cls, given: t.Mapping[str, t.Any], label: str) -> Server:
        """Read C(host), C(port) and C(user); ``label`` is what goes before these names in the options.

        :raises GitLabError: they make no sense.
        """
        for name in ("host", "user"):
            value = given.get(name)
            if value is not None and (not isinstance(value, str) or not value or value.split() != [value]):
                raise GitLabError(
                    f"{label}{name} cannot be {value!r}.", "gitlab-backup cannot take a value with blanks."
                )
        port = given.get("port")
        if port is not None and (not str(port).isdigit() or int(port) < 1):
            raise GitLabError(f"{label}port cannot be {port!r}.", "Give a number from 1 on.")
        return cls(given.get("host"), None if port is None else int(port), given.get("user"))

    def settings(self, prefix: str) -> dict[str, str]:
        """Return the variables whose names begin with ``prefix``."""
        values = {"PGHOST": self.host, "PGPORT": self.port, "PGUSER": self.user}
        return {f"{prefix}{name}": str(value) for name, value in values.items() if value}


@dataclass(frozen=True)
class Direct:
    """The ways that the operator named: one for all databases, and those of single databases, which go before it."""

    server: Server = Server()
    overrides: t.Mapping[str, Server] = field(default_factory=dict)

    @classmethod
    def create(cls, params: t.Mapping[str, t.Any]) -> Direct:
        """Read a module's options.

        :raises GitLabError: they make no sense.
        """
        server = Server.create({name: params[f"database_{name}"] for name in ("host", "port", "user")}, "database_")
        overrides = {}
        for name, given in (params["database_overrides"] or {}).items():
            unknown = set(given) - {"host", "port", "user"} if isinstance(given, dict) else None
            if unknown is None or unknown or not _NAME.match(name):
                raise GitLabError(
                    f"database_overrides cannot have {name}: {given}.",
                    "Give the name of a database and its host, port and user, for example {ci: {host: 10.0.0.6, port: 5432}}.",
                )
            overrides[name] = Server.create(given, f"database_overrides.{name}.")
        return cls(server, overrides)

    def settings(self) -> dict[str, str]:
        """Return the variables for C(gitlab-backup)."""
        result = self.server.settings("GITLAB_BACKUP_")
        for name, server in self.overrides.items():
            result.update(server.settings(f"GITLAB_BACKUP_{name.upper()}_"))
        return result

    def through_pgbouncer(self, connection: Connection) -> bool:
        """Return whether this connection leads to PgBouncer: a port that is not named is that of database.yml, also at another host."""
        named = self.overrides.get(connection.name, Server()).port or self.server.port
        return not named and str(connection.port) == PGBOUNCER_PORT


AS_CONFIGURED = Direct()


def read_connections(installation: Installation) -> list[Connection]:
    """Return the connections of C(database.yml); none where the operator named the databases instead."""
    with contextlib.suppress(OSError), open(installation.database_config, encoding="utf-8") as file:
        return list(parse_database_yml(file.read()))
    return []


def problem(
    direct: Direct, version: GitLabVersion, connections: t.Sequence[Connection], work: str
) -> tuple[str, str] | None:
    """Return why a GitLab of ``version`` must not do its ``work`` by this way, and what to do; None when it may."""
    configure = (
        f"Let database.yml of this node point at the PostgreSQL primary itself for the time of the {work}"
        " (gitlab_rails['db_host'] and ['db_port'] in gitlab.rb, then gitlab-ctl reconfigure)"
    )
    broken = any(first <= version.release <= last for first, last in _VARIABLES_BROKEN)
    if direct.settings() and broken:
        return (
            f"GitLab {version} ignores GITLAB_BACKUP_PGHOST and its like, so that database_host, database_port, database_user"
            " and database_overrides would be without effect.",
            f"{configure}, and leave the options out.",
        )
    if direct.overrides and version.release < _FOR_ONE_DATABASE_SINCE:
        return (
            f"GitLab {version} knows no variables for one database (16.5 was the first), so that database_overrides would be without effect.",
            f"Name what all databases have in common with database_host and database_port, or: {configure[0].lower()}{configure[1:]}.",
        )
    known = [one.name for one in connections]
    unknown = sorted(set(direct.overrides) - set(known)) if connections else []
    if unknown:
        return (
            f"database.yml has no database {', '.join(unknown)}, so that its part of database_overrides would be without effect.",
            f"It has: {', '.join(known)}.",
        )
    # A connection that shares another's database has no tasks of its own and is not dumped.
    used = [one for one in connections if one.database_tasks and one.name not in WITHOUT_BATCHED_MIGRATIONS]
    through = sorted(one.name for one in used if direct.through_pgbouncer(one))
    if not through:
        return None
    kept = " GitLab takes that port also with another host, as long as no port is named." if direct.settings() else ""
    return (
        f"database.yml leads to port {PGBOUNCER_PORT}, which is PgBouncer's ({', '.join(through)}). {_WHY_NOT[work]}{kept}",
        f"{configure}."
        if broken
        else "Name the PostgreSQL primary itself with database_host and database_port, or for one database with database_overrides.",
    )
