# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

# Helpers of the integration tests are imported by name, from wherever the checkout lies.
sys.path.insert(0, str(Path(__file__).parent / "support"))

if t.TYPE_CHECKING:
    from postgres import Cluster


@pytest.fixture(scope="session")
def cluster() -> t.Iterator[Cluster]:
    """A private PostgreSQL on a socket in a temporary folder; databases are for each test to create."""
    from postgres import Cluster

    with Cluster.started() as running:
        yield running
