# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_settings
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_settings import (
    MAX_RUNNING,
    NAMES,
    SWITCHES,
    Settings,
    Value,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

SCHEDULE, OPTIMIZE, PARALLEL = SWITCHES
NOTHING: dict[str, t.Any] = dict.fromkeys(NAMES)


def test_rows_become_values() -> None:
    read = _bbm_settings.parse({SCHEDULE: [], OPTIMIZE: [["boolean", "true"]]}, 2)
    assert read == Settings({SCHEDULE: False, OPTIMIZE: True, PARALLEL: None, MAX_RUNNING: 2})
    some = _bbm_settings.parse({SCHEDULE: [["percentage_of_time", "50"]]}, None)
    assert some.partial == (SCHEDULE,)
    assert SCHEDULE not in some.values


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("13.11.0", {SCHEDULE}),
        ("14.2.7", {SCHEDULE, OPTIMIZE}),
        ("15.6.8", {SCHEDULE, OPTIMIZE}),
        ("15.7.0", {SCHEDULE, OPTIMIZE, PARALLEL, MAX_RUNNING}),
        ("16.0.10", {SCHEDULE, OPTIMIZE, PARALLEL, MAX_RUNNING}),
        ("16.1.0", {SCHEDULE, OPTIMIZE, MAX_RUNNING}),
        ("18.3.0", {SCHEDULE, OPTIMIZE, MAX_RUNNING}),
        ("18.4.0", {SCHEDULE, MAX_RUNNING}),
    ],
)
def test_each_version_has_its_settings_and_the_others_are_refused_with_theirs(text: str, there: set[str]) -> None:
    version = GitLabVersion.parse(text)
    assert {name for name in NAMES if _bbm_settings.exists(name, version)} == there
    for name in there:
        _bbm_settings.refuse(name, version)
    for name in set(NAMES) - there:
        with pytest.raises(GitLabError, match=name) as raised:
            _bbm_settings.refuse(name, version)
        assert ".".join(map(str, _bbm_settings.lifetime(name)[0])) in raised.value.msg


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Nothing says"),
        ({MAX_RUNNING: 0}, "max_running is 0"),
        ({"restore": {MAX_RUNNING: None}}, "max_running is None"),
        ({"restore": {MAX_RUNNING: True}}, "max_running is True"),
        ({"restore": {MAX_RUNNING: "4"}}, "max_running is '4'"),
        ({"restore": {SCHEDULE: "yes"}}, "is 'yes'"),
        ({"restore": {"other": True}}, "names other"),
    ],
)
def test_what_cannot_be_set_is_refused(options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(GitLabError, match=said):
        _bbm_settings.wishes({**NOTHING, **options})


def test_only_what_is_named_is_wished() -> None:
    assert _bbm_settings.wishes({**NOTHING, SCHEDULE: False}) == {SCHEDULE: False}
    assert _bbm_settings.wishes({**NOTHING, "restore": {SCHEDULE: None}}) == {SCHEDULE: None}
    assert _bbm_settings.wishes({**NOTHING, "restore": {}}) == {}


def test_what_could_not_be_put_back_is_not_touched() -> None:
    with pytest.raises(GitLabError, match="for some actors"):
        _bbm_settings.differences({SCHEDULE: True}, Settings({MAX_RUNNING: 2}, (SCHEDULE,)))
    with pytest.raises(GitLabError, match="no row of application settings"):
        _bbm_settings.differences({MAX_RUNNING: 4}, _bbm_settings.parse({}, None))


values = st.fixed_dictionaries(
    {**{name: st.sampled_from([True, False, None]) for name in SWITCHES}, MAX_RUNNING: st.integers(1, 9)}
)


@given(stored=values, wanted=values)
def test_the_differences_and_no_more_make_the_wish_true_and_the_former_values_put_it_back(
    stored: dict[str, Value], wanted: dict[str, Value]
) -> None:
    todo = _bbm_settings.differences(wanted, Settings(stored))
    assert {**stored, **todo} == wanted
    assert all(stored[name] != value for name, value in todo.items())
    back = _bbm_settings.wishes({**NOTHING, "restore": stored})
    assert {**wanted, **_bbm_settings.differences(back, Settings(wanted))} == stored
