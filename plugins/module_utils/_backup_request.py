# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What an operator asks of a backup, and how C(gitlab-backup) is told."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import DATABASE, PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import check_id
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

STREAM = "stream"
COPY = "copy"

PGBOUNCER_PORT = "6432"

# GITLAB_BACKUP_PGHOST and its like were ignored there, says GitLab's page on backups. Both ends belong to it.
_VARIABLES_BROKEN = (((15, 11, 0), (16, 6, 99)), ((16, 7, 0), (16, 7, 6)), ((16, 8, 0), (16, 8, 3)))


@dataclass(frozen=True)
class Request:
    """The options of one backup; None leaves a thing to GitLab."""

    skip: tuple[str, ...] = ()
    strategy: str = STREAM
    max_concurrency: int | None = None
    max_storage_concurrency: int | None = None
    database_host: str | None = None
    database_port: int | None = None
    database_user: str | None = None

    @classmethod
    def create(cls, params: t.Mapping[str, t.Any]) -> Request:
        """Read a module's options.

        :raises GitLabError: they make no sense.
        """
        skip = params["skip"]
        if params["database_only"]:
            skip = [name for name in PARTS if name != DATABASE]
        request = cls(
            tuple(name for name in PARTS if name in skip),
            params["strategy"],
            *(params[name] for name in ("max_concurrency", "max_storage_concurrency")),
            *(params[name] for name in ("database_host", "database_port", "database_user")),
        )
        for name in ("max_concurrency", "max_storage_concurrency", "database_port"):
            if params[name] is not None and params[name] < 1:
                raise GitLabError(f"{name} cannot be {params[name]}.", "Give a number from 1 on.")
        for name in ("database_host", "database_user"):
            value = params[name]
            if value is not None and (not value or value.split() != [value]):
                raise GitLabError(f"{name} cannot be {value!r}.", "gitlab-backup cannot take a value with blanks.")
        if set(request.skip) == set(PARTS):
            raise GitLabError("Every part is in skip: nothing is left to back up.", "Leave some out of skip.")
        return request

    @property
    def direct(self) -> bool:
        """Return whether the database is asked elsewhere than database.yml says."""
        return any((self.database_host, self.database_port, self.database_user))

    def settings(self, backup_id: str) -> dict[str, str]:
        """Return the variables for C(gitlab-backup create)."""
        values = {
            "BACKUP": backup_id,
            "SKIP": ",".join(self.skip),
            "STRATEGY": COPY if self.strategy == COPY else "",
            "GITLAB_BACKUP_MAX_CONCURRENCY": self.max_concurrency,
            "GITLAB_BACKUP_MAX_STORAGE_CONCURRENCY": self.max_storage_concurrency,
            "GITLAB_BACKUP_PGHOST": self.database_host,
            "GITLAB_BACKUP_PGPORT": self.database_port,
            "GITLAB_BACKUP_PGUSER": self.database_user,
        }
        return {name: str(value) for name, value in values.items() if value}


def new_id(version: str, now: float) -> str:
    """Return an id for a new backup.

    The word in front keeps GitLab's own pruning (backup_keep_time) away from it, which takes names that begin with a
    time and knows nothing of what was verified.
    """
    return check_id(f"fleet_{int(now)}_{time.strftime('%Y_%m_%d', time.gmtime(now))}_{version}")


def ignores_variables(version: GitLabVersion) -> bool:
    """Return whether GITLAB_BACKUP_PGHOST and its like are without effect in a version."""
    return any(first <= version.release <= last for first, last in _VARIABLES_BROKEN)


def through_pgbouncer(connections: t.Iterable[Connection]) -> list[str]:
    """Return the names of the connections that lead to PgBouncer."""
    return sorted(one.name for one in connections if str(one.port) == PGBOUNCER_PORT)


def refuse_connection(request: Request, version: GitLabVersion, connections: t.Iterable[Connection]) -> None:
    """Refuse a backup that would dump the database through PgBouncer.

    In its transaction mode the dump lacks tables, or takes the instance down, says GitLab's page on backups.

    :raises GitLabError: it would.
    """
    broken = ignores_variables(version)
    if request.direct and broken:
        raise GitLabError(
            f"GitLab {version} ignores GITLAB_BACKUP_PGHOST and its like, so that database_host, database_port and"
            " database_user would be without effect.",
            "Let database.yml of this node point at the PostgreSQL primary itself for the time of the backup"
            " (gitlab_rails['db_host'] and ['db_port'] in gitlab.rb, then gitlab-ctl reconfigure), and leave the options out.",
        )
    through = through_pgbouncer(connections)
    if through and not request.direct and DATABASE not in request.skip:
        raise GitLabError(
            f"database.yml leads to port {PGBOUNCER_PORT}, which is PgBouncer's ({', '.join(through)}). A dump through PgBouncer"
            " may lack tables.",
            "Name the PostgreSQL primary itself with database_host and database_port."
            if not broken
            else "Let database.yml of this node point at the PostgreSQL primary itself for the time of the backup.",
        )
