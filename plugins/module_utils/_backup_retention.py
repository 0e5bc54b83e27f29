# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which backups are kept and which go. Decides, removes nothing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from datetime import datetime

    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion


@dataclass(frozen=True)
class Kept:
    """One backup as retention sees it."""

    id: str
    created_at: datetime
    verified: bool
    # The GitLab that made it, and what it was made without, such as a part or the configuration.
    version: GitLabVersion
    lacks: frozenset[str] = frozenset()

    def replaces(self, other: Kept) -> bool:
        """Return whether this one can be relied on for all that the other one can."""
        return self.verified and (not other.verified or self.lacks <= other.lacks)


def to_remove(
    backups: t.Iterable[Kept],
    now: datetime,
    installed: GitLabVersion,
    keep: int | None = None,
    max_age: int | None = None,
) -> list[str]:
    """Return the ids of the backups that go, the oldest first.

    A backup goes when there are ``keep`` newer ones that can take its place, or when it is older than ``max_age``
    seconds. Those of :func:`ways_back` never go, and without a verified one nothing goes: what is there is all that
    there is.
    """
    order = sorted(backups, key=_moment)
    stay = ways_back(order, installed)
    if not stay:
        return []
    gone = []
    for place, one in enumerate(order):
        newer = sum(other.replaces(one) for other in order[place + 1 :])
        too_many = keep is not None and newer >= keep
        too_old = max_age is not None and (now - one.created_at).total_seconds() > max_age
        if one not in stay and (too_many or too_old):
            gone.append(one.id)
    return gone


def ways_back(backups: t.Iterable[Kept], installed: GitLabVersion) -> list[Kept]:
    """Return the verified backups that may be the only way back.

    These are the newest of all, the last of the installed version, and the last of the newest version before that: an
    upgrade that has failed half-way is rolled back to that one, and a backup of the failed state is none. One without
    some parts is no last one for those that have them.
    """
    verified = sorted((one for one in backups if one.verified), key=_moment)
    of_installed = [one for one in verified if one.version == installed]
    # The last of the newest version.
    before = sorted((one for one in verified if one.version < installed), key=lambda one: one.version)
    stay = [*verified[-1:], *_last(of_installed), *_last(before)]
    return [one for one in verified if one in stay]


def _last(order: t.Sequence[Kept]) -> list[Kept]:
    return [one for place, one in enumerate(order) if not any(other.replaces(one) for other in order[place + 1 :])]


def _moment(one: Kept) -> tuple[datetime, str]:
    return one.created_at, one.id
