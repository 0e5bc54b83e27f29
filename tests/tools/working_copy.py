# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep a copy of the working tree where ansible-test wants a collection: .../ansible_collections/NAMESPACE/NAME.

    working_copy.py DESTINATION

The copy holds the files git knows and the new ones it would not ignore, as they are now on disk. It is a git repository
of its own because ansible-test and ansible-lint ask git which files belong to the collection. Only what differs is
written, so that caches in the copy stay good.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory, also in one that belongs to another user (a CI checkout often does)."""
    command = ["git", "-c", "safe.directory=*", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def listed_files(directory: Path) -> set[str]:
    """Return the files of a working tree that are tracked or would not be ignored, without those that are deleted."""
    names = git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {name for name in names if name and os.path.lexists(directory / name)}


def same(source: Path, target: Path) -> bool:
    """Tell whether target is already what source is: kind, mode and content."""
    if not os.path.lexists(target) or source.is_symlink() != target.is_symlink():
        return False
    if source.is_symlink():
        return source.readlink() == target.readlink()
    return source.stat().st_mode == target.stat().st_mode and filecmp.cmp(source, target, shallow=False)


def put(source: Path, target: Path) -> None:
    """Write one file or link anew."""
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def drop(directory: Path, name: str) -> None:
    """Remove a file and the folders it leaves empty."""
    path = directory / name
    path.unlink()
    for parent in path.relative_to(directory).parents[:-1]:
        if any((directory / parent).iterdir()):
            break
        (directory / parent).rmdir()


def synchronize(source: Path, destination: Path) -> None:
    """Make destination a copy of the working tree at source."""
    destination.mkdir(parents=True, exist_ok=True)
    if not (destination / ".git").exists():
        git(destination, "init", "--quiet")
    wanted = listed_files(source)
    # The ignore rules decide what is listed in the copy, so they come first.
    for name in sorted(wanted, key=lambda name: (Path(name).name != ".gitignore", name)):
        if not same(source / name, destination / name):
            put(source / name, destination / name)
    for name in sorted(listed_files(destination) - wanted):
        drop(destination, name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        synchronize(ROOT, Path(sys.argv[1]))
    except subprocess.CalledProcessError:
        sys.exit(
            f"Cannot copy {ROOT}: git does not list its files. The tests need a git checkout: clone the repository."
        )
