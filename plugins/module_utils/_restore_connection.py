# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""By which way C(gitlab-backup restore) reaches PostgreSQL, and whether that way can carry a restore."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_request import (
    ignores_variables,
    through_pgbouncer,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import parse_database_yml
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection

OPTIONS: dict[str, dict[str, t.Any]] = {
    "database_host": {"type": "str"},
    "database_port": {"type": "int"},
    "database_user": {"type": "str"},
}

_DATABASE_YML = (
    "Let database.yml of this node point at the PostgreSQL primary itself for the time of the restore"
    " (gitlab_rails['db_host'] and ['db_port'] in gitlab.rb, then gitlab-ctl reconfigure)"
)


@dataclass(frozen=True)
class Direct:
    """Where the operator says that PostgreSQL is; None leaves a thing to database.yml."""

    host: str | None = None
    port: int | None = None
    user: str | None = None

    @classmethod
    def create(cls, params: t.Mapping[str, t.Any]) -> Direct:
        """Read a module's options.

        :raises GitLabError: they make no sense.
        """
        for name in ("database_host", "database_user"):
            value = params[name]
            if value is not None and (not value or value.split() != [value]):
                raise GitLabError(f"{name} cannot be {value!r}.", "gitlab-backup cannot take a value with blanks.")
        if params["database_port"] is not None and params["database_port"] < 1:
            raise GitLabError(f"database_port cannot be {params['database_port']}.", "Give a number from 1 on.")
        return cls(*(params[name] for name in OPTIONS))

    def settings(self) -> dict[str, str]:
        """Return the variables for C(gitlab-backup)."""
        values = {"PGHOST": self.host, "PGPORT": self.port, "PGUSER": self.user}
        return {f"GITLAB_BACKUP_{name}": str(value) for name, value in values.items() if value}


AS_CONFIGURED = Direct()


def read_connections(installation: Installation) -> list[Connection]:
    """Return the connections of C(database.yml); none where the operator named the databases instead."""
    with contextlib.suppress(OSError), open(installation.database_config, encoding="utf-8") as file:
        return list(parse_database_yml(file.read()))
    return []


def problem(direct: Direct, version: str, connections: t.Iterable[Connection]) -> tuple[str, str] | None:
    """Return why a GitLab of ``version`` must not restore by this way, and what to do; None when it may."""
    broken = ignores_variables(GitLabVersion.parse(version))
    if direct.settings():
        if not broken:
            return None
        return (
            f"GitLab {version} ignores GITLAB_BACKUP_PGHOST and its like, so that database_host, database_port and"
            " database_user would be without effect.",
            f"{_DATABASE_YML}, and leave the options out.",
        )
    through = through_pgbouncer(connections)
    if not through:
        return None
    return (
        f"database.yml leads to PgBouncer ({', '.join(through)}). It pools transactions, and a restore is a long session with"
        " settings of its own, which takes the instance down or is left incomplete.",
        f"{_DATABASE_YML}." if broken else "Name the PostgreSQL primary itself with database_host and database_port.",
    )
