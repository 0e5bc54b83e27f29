# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from datetime import datetime

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.filter.deadline import FilterModule

deadline = FilterModule().filters()["deadline"]


@pytest.mark.parametrize("value", [7200, "7200", " 7200 "])
def test_seconds_are_from_now(value: t.Any) -> None:
    assert deadline(value) - time.time() == pytest.approx(7200, abs=5)


def test_a_time_of_day_is_the_next_one() -> None:
    moment = deadline("06:30")
    assert 0 < moment - time.time() <= 25 * 3600
    assert datetime.fromtimestamp(moment).strftime("%H:%M:%S") == "06:30:00"


def test_a_moment_is_itself() -> None:
    assert deadline("2999-01-01T06:30:00+00:00") == 32472167400.0


@pytest.mark.parametrize("value", ["", "soon", "0", 0, -5, "25:00", "2020-01-01T00:00", None, [], True])
def test_what_is_no_deadline_is_refused(value: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="deadline"):
        deadline(value)
