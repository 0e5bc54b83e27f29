# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from testbed import images
from testbed.errors import TestbedError
from testbed.host import Host
from testbed.host import save as save_host
from testbed.images import Image
from testbed.store import Store, entries


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    """A store with image upper above image lower."""
    store = Store.open(tmp_path / "store")
    for image in (Image("lower", None, "b1"), Image("upper", "lower", "b1")):
        files = tmp_path / image.name
        files.mkdir()
        (files / "file").write_text(image.name)
        images.save(store, image, files)
    return store


def add_host(store: Store, name: str, image: str | None, base: str) -> None:
    directory = store.fleets / "fleet" / "hosts" / name
    directory.mkdir(parents=True)
    save_host(directory, Host(name, 2, image, base, []))


def test_layers_go_from_the_image_down_to_the_base(store: Store) -> None:
    assert images.layers(store, "upper", "b1") == [
        store.images / "upper" / "files",
        store.images / "lower" / "files",
        store.bases / "b1" / "root",
    ]
    assert images.layers(store, None, "b1") == [store.bases / "b1" / "root"]


def test_saving_moves_the_files(store: Store, tmp_path: pathlib.Path) -> None:
    assert not (tmp_path / "upper").exists()
    assert (store.images / "upper" / "files" / "file").read_text() == "upper"
    assert images.everything(store) == [Image("lower", None, "b1"), Image("upper", "lower", "b1")]


def test_an_unknown_image(store: Store) -> None:
    with pytest.raises(TestbedError, match="no image nothing"):
        images.layers(store, "nothing", "b1")
    with pytest.raises(TestbedError, match="no image nothing"):
        images.remove(store, "nothing")


def test_only_what_nothing_stands_on_is_removed(store: Store) -> None:
    add_host(store, "a", "upper", "b1")
    with pytest.raises(TestbedError, match="in use: image upper"):
        images.remove(store, "lower")
    with pytest.raises(TestbedError, match="in use: host a of fleet fleet"):
        images.remove(store, "upper")
    store.remove(store.fleets / "fleet")
    images.remove(store, "upper")
    images.remove(store, "lower")
    assert entries(store.images) == []


def test_bases_of_images_and_of_hosts_are_in_use(store: Store) -> None:
    add_host(store, "a", None, "b2")
    assert images.bases_in_use(store) == {"b1", "b2"}
