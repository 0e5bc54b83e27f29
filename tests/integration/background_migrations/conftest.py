# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from instances import Instances


@pytest.fixture(scope="session")
def queues() -> t.Iterator[Instances]:
    """Instances whose code for non-batched background migrations differs: one queue, and one for each database."""
    from instances import Instances
    from older_queues import ENDS, HOSTS

    with Instances.fleet("older") as fleet:
        fleet.up({**HOSTS, **ENDS})
        for host in (*HOSTS, *ENDS):
            # The messages are the tests'; no worker may take them.
            fleet.sh(host, "gitlab-ctl stop sidekiq")
        yield fleet
