# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state directory: its layout, its locks and its small JSON files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import time
import typing as t

from .errors import TestbedError

MARKER = ".gitlab-fleet-testbed"
# Separators of overlay's lowerdir option and of --bind.
UNUSABLE = set(":,\\ \n")


class Store:
    """All of the test bed's state, below one directory that only the test bed writes."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.bases = root / "base"
        self.seeds = root / "seed"
        self.images = root / "images"
        self.fleets = root / "fleets"
        self.keys = root / "keys"
        self._locks = root / "locks"

    @classmethod
    def open(cls, root: pathlib.Path) -> Store:
        """The store in ``root``, made when there is none; a directory with other things in it is refused."""
        if not root.is_absolute() or UNUSABLE & set(str(root)):
            raise TestbedError(f"MINI_GITLAB_DIR={root} must be an absolute path without blanks, ':', ',' or '\\'")
        store = cls(root)
        if not (root / MARKER).exists():
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TestbedError(
                    f"cannot make the state directory {root} ({error.strerror}): set MINI_GITLAB_DIR"
                ) from error
            if any(root.iterdir()):
                raise TestbedError(f"{root} holds other things: set MINI_GITLAB_DIR to an empty or a new directory")
            (root / MARKER).touch()
        for directory in (store.bases, store.seeds, store.images, store.fleets, store.keys, store._locks):
            directory.mkdir(exist_ok=True)
        return store

    @contextlib.contextmanager
    def lock(self, name: str, seconds: float = 600) -> t.Iterator[None]:
        """Holds the lock ``name``; the kernel frees it when this process ends, however it ends."""
        with open(self._locks / name, "a+", encoding="ascii") as file:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        file.seek(0)
                        raise TestbedError(
                            f"{name} is in use by process {file.read().strip()}: try again when it ends"
                        ) from None
                    time.sleep(0.05)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def relative(self, path: pathlib.Path) -> str:
        """The path as seen from the state directory: short, since the kernel takes one page of mount options."""
        return str(path.relative_to(self.root))

    def remove(self, path: pathlib.Path) -> None:
        """Removes a directory of this store, and nothing that is mounted in it."""
        if self.root not in path.parents:
            raise ValueError(f"{path} is not in {self.root}")
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)

    @contextlib.contextmanager
    def building(self, final: pathlib.Path) -> t.Iterator[pathlib.Path]:
        """A directory that becomes ``final`` if the block succeeds, so that what exists is complete."""
        partial = final.with_name(f".{final.name}.partial")
        self.remove(partial)
        partial.mkdir()
        try:
            yield partial
        except BaseException:
            self.remove(partial)
            raise
        partial.rename(final)


def read_json(path: pathlib.Path) -> t.Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: pathlib.Path, content: t.Any) -> None:
    """Replaces the file in one step: readers see the old or the new content."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def entries(directory: pathlib.Path) -> list[str]:
    """Names of the complete things in a directory, sorted."""
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def need(programs: t.Iterable[str]) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise TestbedError(
            f"missing programs: {' '.join(missing)}; install the Debian packages in tests/mini_gitlab/apt.txt"
        )
