# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: the files of a host, kept as a read-only layer above other images and a base.

images/NAME/files is the layer, images/NAME/image.json says what lies below it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import typing as t

from .errors import TestbedError
from .store import Store, entries, read_json, write_json


@dataclasses.dataclass(frozen=True)
class Image:
    name: str
    parent: str | None
    base: str


def load(store: Store, name: str) -> Image:
    path = store.images / name / "image.json"
    if not path.exists():
        raise TestbedError(f"there is no image {name}: fleet.py images lists them")
    return Image(**read_json(path))


def everything(store: Store) -> list[Image]:
    return [load(store, name) for name in entries(store.images)]


def chain(store: Store, name: str | None) -> list[str]:
    """The image and its parents, topmost first."""
    names = []
    while name is not None:
        names.append(name)
        name = load(store, name).parent
    return names


def layers(store: Store, name: str | None, base: str) -> list[pathlib.Path]:
    """Directories of an image's files, topmost first, down to the base."""
    return [store.images / image / "files" for image in chain(store, name)] + [store.bases / base / "root"]


def save(store: Store, image: Image, files: pathlib.Path) -> None:
    """Makes an image out of a layer, which moves away from where it is."""
    # The hosts run without fsync; an image must outlive a crash of this machine.
    subprocess.run(["sync", "--file-system", str(files)], check=True)
    with store.building(store.images / image.name) as directory:
        write_json(directory / "image.json", dataclasses.asdict(image))
        files.rename(directory / "files")


def remove(store: Store, name: str) -> None:
    load(store, name)
    users = [f"image {image.name}" for image in everything(store) if image.parent == name]
    users += [
        f"host {path.parent.name} of fleet {path.parents[2].name}"
        for path, host in _hosts(store)
        if host["image"] == name
    ]
    if users:
        raise TestbedError(f"image {name} is in use: {', '.join(users)}")
    store.remove(store.images / name)


def bases_in_use(store: Store) -> set[str]:
    return {image.base for image in everything(store)} | {host["base"] for _path, host in _hosts(store)}


def _hosts(store: Store) -> list[tuple[pathlib.Path, dict[str, t.Any]]]:
    return [(path, read_json(path)) for path in sorted(store.fleets.glob("*/hosts/*/host.json"))]
