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


@dataclass(frozen=True)
class Kept:
    """One backup as retention sees it."""

    id: str
    created_at: datetime
    verified: bool


def to_remove(
    backups: t.Iterable[Kept], now: datetime, keep: int | None = None, max_age: int | None = None
) -> list[str]:
    """Return the ids of the backups that go, the oldest first.

    A backup goes when there are ``keep`` newer verified ones, or when it is older than ``max_age`` seconds. The newest
    verified one never goes, and without a verified one nothing goes: what is there is all that there is.
    """
    order = sorted(backups, key=lambda one: (one.created_at, one.id))
    verified = [one for one in order if one.verified]
    if not verified:
        return []
    newest = verified[-1]
    gone = []
    for place, one in enumerate(order):
        newer = sum(other.verified for other in order[place + 1 :])
        too_many = keep is not None and newer >= keep
        too_old = max_age is not None and (now - one.created_at).total_seconds() > max_age
        if one != newest and (too_many or too_old):
            gone.append(one.id)
    return gone
