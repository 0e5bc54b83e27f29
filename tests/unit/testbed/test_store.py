# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from testbed.errors import TestbedError
from testbed.store import MARKER, Store, entries, need, read_json, write_json


def test_a_new_store_is_marked_and_opened_again(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "new" / "store"
    Store.open(root)
    (root / "images" / "kept").mkdir()
    assert (root / MARKER).exists()
    assert entries(Store.open(root).images) == ["kept"]


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(TestbedError, match="holds other things"):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["relative", "/with:colon", "/with,comma", "/with blank", "/with\\backslash"])
def test_paths_that_overlay_cannot_take(name: str) -> None:
    with pytest.raises(TestbedError, match="absolute path"):
        Store.open(pathlib.Path(name))


def test_nothing_outside_of_the_store_is_removed(tmp_path: pathlib.Path) -> None:
    store = Store.open(tmp_path / "store")
    for path in (tmp_path, store.root, tmp_path / "other"):
        with pytest.raises(ValueError, match="is not in"):
            store.remove(path)


def test_a_failed_build_leaves_nothing(tmp_path: pathlib.Path) -> None:
    store = Store.open(tmp_path / "store")

    def fail_half_way() -> None:
        with store.building(store.bases / "x") as directory:
            (directory / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(store.bases.iterdir()) == []


def test_what_a_killed_build_left_is_invisible_and_built_anew(tmp_path: pathlib.Path) -> None:
    store = Store.open(tmp_path / "store")
    (store.bases / ".x.partial").mkdir()
    (store.bases / ".x.partial" / "half").touch()
    assert entries(store.bases) == []
    with store.building(store.bases / "x") as directory:
        (directory / "whole").touch()
    assert entries(store.bases) == ["x"]
    assert [path.name for path in (store.bases / "x").iterdir()] == ["whole"]


def test_a_held_lock_names_its_holder(tmp_path: pathlib.Path) -> None:
    store = Store.open(tmp_path / "store")
    with store.lock("fleet-a"):
        with pytest.raises(TestbedError, match=r"fleet-a is in use by process \d+"), store.lock("fleet-a", seconds=0.1):
            pass
        with store.lock("fleet-b", seconds=0):
            pass
    with store.lock("fleet-a", seconds=0):
        pass


def test_json_is_replaced_whole(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    write_json(file, {"b": None})
    assert read_json(file) == {"b": None}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_missing_programs_are_named() -> None:
    need(["sh"])
    with pytest.raises(TestbedError, match=r"missing programs: no-such-program; .*apt\.txt"):
        need(["sh", "no-such-program"])
