# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How much room a backup needs. Decides, measures nothing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# GitLab writes each part into the backup directory, and then packs them all into the archive beside them.
COPIES = 2
# An instance grows between two backups.
GROWTH = 1.2
# What the rest of the file system needs, in bytes.
RESERVE = 100 * 1024 * 1024


@dataclass(frozen=True)
class Space:
    """What a backup needs and what there is, in bytes, and where the figure comes from."""

    needed: int
    free: int
    basis: str

    @property
    def enough(self) -> bool:
        """Return whether there is room."""
        return self.free >= self.needed

    def __str__(self) -> str:
        return f"{in_bytes(self.needed)} needed, {in_bytes(self.free)} free ({self.basis})"


def from_former(size: int, name: str, free: int, copy: bool) -> Space:
    """Reckon from the archive of a former verified backup of the same parts."""
    grown = int(size * GROWTH)
    text = f"the archive of {name} has {in_bytes(size)}, a fifth more for growth, {_kept(copy)}"
    return Space(_with_copy(grown, copy), free, text)


def from_measured(
    databases: t.Mapping[str, int], folders: t.Mapping[str, int], missing: t.Sequence[str], free: int, copy: bool
) -> Space:
    """Reckon from the tables' sizes and the folders' contents, both without compression.

    ``missing`` are the parts whose data are not on this host, so that they could not be measured.
    """
    tables, files = sum(databases.values()), sum(folders.values())
    text = f"tables {in_bytes(tables)} and files {in_bytes(files)}, not compressed, {_kept(copy)}"
    if missing:
        text += f"; not measured, since not on this host: {', '.join(missing)}"
    return Space(_with_copy(tables + files, copy), free, text)


def in_bytes(size: float) -> str:
    """Return a size for people, such as C(1.4 GB)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _with_copy(size: int, copy: bool) -> int:
    return size * (COPIES + copy) + RESERVE


def _kept(copy: bool) -> str:
    times = "three times (STRATEGY=copy, parts and archive)" if copy else "twice (parts and archive)"
    return f"{times}, and {in_bytes(RESERVE)} in reserve"
