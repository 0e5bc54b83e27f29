# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The apt repository: every package, with the index that `deb [trusted=yes] file:DIR ./` reads."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import typing as t
from pathlib import Path

from . import deb
from .source import digest


def build(versions: t.Sequence[str], cache: Path) -> Path:
    """A repository of these versions below the cache; it never changes once it is there."""
    packages = {version: deb.build(version, cache / "debs") for version in versions}
    target = cache / "repositories" / digest(*(package.name for package in packages.values()))
    if not target.exists():
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _fill(fresh, packages)
        _move_into_place(fresh, target)
    return target


def copy(repository: Path, target: Path) -> None:
    """Bring a directory to the state of a repository; packages come before the index that names them."""
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(repository.iterdir()):
        fresh = target / f".{source.name}"
        shutil.copyfile(source, fresh)
        fresh.replace(target / source.name)
    for stale in {path.name for path in target.glob("*.deb")} - {path.name for path in repository.glob("*.deb")}:
        (target / stale).unlink()


def _fill(folder: Path, packages: t.Mapping[str, Path]) -> None:
    stanzas = []
    for version, package in packages.items():
        name = f"{deb.NAME}_{deb.deb_version(version)}_all.deb"
        os.link(package, folder / name)
        content = package.read_bytes()
        stanzas.append(
            f"{deb.control_text(version)}Filename: ./{name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    index = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(index)
    date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
    (folder / "Release").write_text(
        f"Origin: mini-gitlab\nLabel: mini-gitlab\nDate: {date}\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )


def _move_into_place(fresh: Path, target: Path) -> None:
    try:
        fresh.rename(target)
    except OSError:
        # Somebody else was as quick; what they made is the same.
        if not target.exists():
            raise
        shutil.rmtree(fresh)
