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

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _direct_connection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_log import DATABASE, PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import check_id
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

STREAM = "stream"
COPY = "copy"


@dataclass(frozen=True)
class Request:
    """The options of one backup; None leaves a thing to GitLab."""

    skip: tuple[str, ...] = ()
    strategy: str = STREAM
    max_concurrency: int | None = None
    max_storage_concurrency: int | None = None
    direct: _direct_connection.Direct = _direct_connection.AS_CONFIGURED

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
            params["max_concurrency"],
            params["max_storage_concurrency"],
            _direct_connection.Direct.create(params),
        )
        for name in ("max_concurrency", "max_storage_concurrency"):
            if params[name] is not None and params[name] < 1:
                raise GitLabError(f"{name} cannot be {params[name]}.", "Give a number from 1 on.")
        if set(request.skip) == set(PARTS):
            raise GitLabError("Every part is in skip: nothing is left to back up.", "Leave some out of skip.")
        return request

    def settings(self, backup_id: str) -> dict[str, str]:
        """Return the variables for C(gitlab-backup create)."""
        values = {
            "BACKUP": backup_id,
            "SKIP": ",".join(self.skip),
            "STRATEGY": COPY if self.strategy == COPY else "",
            "GITLAB_BACKUP_MAX_CONCURRENCY": self.max_concurrency,
            "GITLAB_BACKUP_MAX_STORAGE_CONCURRENCY": self.max_storage_concurrency,
            **self.direct.settings(),
        }
        return {name: str(value) for name, value in values.items() if value}


def new_id(version: str, now: float) -> str:
    """Return an id for a new backup.

    The word in front keeps GitLab's own pruning (backup_keep_time) away from it, which takes names that begin with a
    time and knows nothing of what was verified.
    """
    return check_id(f"fleet_{int(now)}_{time.strftime('%Y_%m_%d', time.gmtime(now))}_{version}")


def refuse_other_parts(request: Request, backup_id: str, skipped: t.Collection[str]) -> None:
    """Refuse to take a backup that was made before for one that is to have other parts.

    :raises GitLabError: it has more or fewer; ``skipped`` are the parts that it was made without.
    """
    if set(skipped) != set(request.skip):
        raise GitLabError(
            f"The backup {backup_id} is there already, with {_parts(skipped)}; now it is to have {_parts(request.skip)}.",
            "Give another id, or ask for the same parts.",
        )


def _parts(skipped: t.Collection[str]) -> str:
    names = [name for name in PARTS if name not in skipped]
    return "all parts" if len(names) == len(PARTS) else f"these parts only: {', '.join(names)}"


def refuse_connection(request: Request, version: GitLabVersion, connections: t.Sequence[Connection]) -> None:
    """Refuse a backup that would dump the database through PgBouncer.

    :raises GitLabError: it would.
    """
    if DATABASE in request.skip:
        return
    problem = _direct_connection.problem(request.direct, version, connections, _direct_connection.BACKUP)
    if problem:
        raise GitLabError(*problem)
