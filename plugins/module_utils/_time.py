# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

# PostgreSQL leaves out trailing zeros of the fraction and the minutes of the zone, which fromisoformat of
# Python 3.8 cannot read. JSON has a "T" between date and time, text output a blank.
_MOMENT = re.compile(
    r"(\d{4,5})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(?P<fraction>\d{1,6})\d*)?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?(?::?(?P<seconds>\d\d))?)?\Z"
)


def parse_moment(text: object) -> datetime | None:
    """Read a timestamp as PostgreSQL writes it in JSON; without a zone it is UTC, as Rails stores it.

    None for what is no moment: null, C(infinity), years that Python does not know.
    """
    match = _MOMENT.match(text) if isinstance(text, str) else None
    if not match:
        return None
    try:
        # Not strptime: its first call imports a good deal, in each of the controller's worker processes.
        year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
        fraction = int((match.group("fraction") or "0").ljust(6, "0"))
        offset = timedelta(
            hours=int(match.group("hours") or 0),
            minutes=int(match.group("minutes") or 0),
            seconds=int(match.group("seconds") or 0),
        )
        moment = datetime(year, month, day, hour, minute, second, fraction, timezone.utc)
        return moment + offset if match.group("sign") == "-" else moment - offset
    except (ValueError, OverflowError):
        return None


def iso(moment: datetime | None) -> str | None:
    """Return a moment in UTC to the second, such as C(2026-11-20T07:22:44Z)."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units, such as C(3 h 10 min)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        large, small = f"{whole // 3600} h", f"{whole % 3600 // 60} min"
    else:
        large, small = f"{whole // 86400} d", f"{whole % 86400 // 3600} h"
    return large if small.startswith("0 ") else f"{large} {small}"
