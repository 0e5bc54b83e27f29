# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances whose models differ: an enum, a state machine that refuses nothing, one that does; one database, and two."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from instances import Instances


@pytest.fixture(scope="session")
def changing() -> t.Iterator[Instances]:
    from bbm_places import HOSTS
    from instances import Instances

    with Instances.fleet("change") as fleet:
        fleet.up(HOSTS)
        for host in HOSTS:
            # The rows are the tests'; no worker may take them.
            fleet.sh(host, "gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[2000]'")
        yield fleet
