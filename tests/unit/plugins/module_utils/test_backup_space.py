# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_space as space

GB = 10**9


def test_the_figures_of_a_measured_instance() -> None:
    found = space.from_measured({"main": 3 * GB, "ci": GB}, {"repositories": 5 * GB, "uploads": GB}, [], 25 * GB, False)

    assert found.needed == 20 * GB + space.RESERVE
    assert found.enough
    assert str(found) == (
        "20.1 GB needed, 25.0 GB free (tables 4.0 GB and files 6.0 GB, not compressed, twice (parts and archive),"
        " and 105 MB in reserve)"
    )


def test_what_could_not_be_measured_is_told() -> None:
    found = space.from_measured({"main": GB}, {}, ["repositories"], GB, True)

    assert found.needed == 3 * GB + space.RESERVE
    assert not found.enough
    assert "not measured, since not on this host: repositories" in found.basis


def test_the_figures_from_a_former_backup() -> None:
    found = space.from_former(10 * GB, "x", 24 * GB, False)

    assert found.needed == 24 * GB + space.RESERVE
    assert not found.enough
    assert "the archive of x has 10.0 GB" in found.basis


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (1_500_000, "1.5 MB"),
        (2e15, "2000.0 TB"),
    ],
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert space.in_bytes(size) == text


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.booleans())
def test_more_data_never_need_less(tables: int, files: int, copy: bool) -> None:
    found = space.from_measured({"main": tables}, {"uploads": files}, [], 0, copy)

    assert found.needed >= 2 * max(tables, files)
    assert not found.enough
