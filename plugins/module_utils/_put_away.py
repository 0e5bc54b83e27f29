# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Services that were put away: which ones ran before, and whose C(down) files are to come and to go.

The order of the acts is such that a run that breaks off at any point loses nothing. Putting away: record, C(down)
file, stop. Putting back: C(down) file, start, record. What is stopped, or kept down, is always in the record.
"""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._down_files import OURS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._services import RESTORED, STOPPED, Service


def put_away(
    record: t.Mapping[str, bool], services: t.Mapping[str, Service], names: t.Iterable[str]
) -> dict[str, bool]:
    """Return the put-away record: by service, whether it ran before anything was stopped.

    What an earlier, interrupted run wrote wins: what is down now may have been stopped by it.
    """
    return {**{name: services[name].runs for name in names}, **record}


def released(state: str, names: t.Sequence[str] | None, record: t.Mapping[str, bool]) -> list[str]:
    """Return the services that are no longer put away once ``names`` (None: all of the record) are in ``state``."""
    if state == STOPPED:
        return []
    if state == RESTORED:
        return [name for name in record if names is None or name in names]
    return list(names or [])


def down_files_to_make(stay_down: bool, names: t.Iterable[str], owners: t.Mapping[str, str | None]) -> list[str]:
    """Return the services that get a C(down) file. One that is there already keeps its own, whosesoever it is."""
    return [name for name in names if stay_down and owners[name] is None]


def down_files_to_remove(names: t.Iterable[str], owners: t.Mapping[str, str | None]) -> list[str]:
    """Return those of the released services whose C(down) file is to go: ours, and nobody else's."""
    return [name for name in names if owners[name] == OURS]
