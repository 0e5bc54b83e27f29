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
    Record,
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
        ({MAX_RUNNING: 2**31}, "Give a number from 1 to 2147483647"),
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


VALUES: t.Mapping[str, st.SearchStrategy[Value]] = {
    **{name: st.sampled_from([None, True, False]) for name in SWITCHES},
    MAX_RUNNING: st.integers(1, 5),
}
CHANGES = st.lists(
    st.tuples(st.fixed_dictionaries({}, optional=VALUES), st.sampled_from(["done", "killed before", "forgotten"])),
    max_size=6,
)


@given(st.fixed_dictionaries(dict(VALUES)), CHANGES)
def test_however_often_it_was_interrupted_the_first_values_come_back(first: dict[str, Value], changes: t.Any) -> None:
    stored, record = dict(first), Record()
    for wanted, fate in changes:
        todo = _bbm_settings.differences(wanted, Settings(stored))
        if fate != "forgotten":
            record = Record.read(record.with_change(todo, Settings(stored)).to_json())
        if fate == "done":
            stored.update(todo)
    stored.update(record.to_put_back(Settings(stored)))
    assert stored == first


def test_what_somebody_else_has_set_since_is_left_alone() -> None:
    before = Settings({SCHEDULE: None, MAX_RUNNING: 2})
    record = Record().with_change({MAX_RUNNING: 4, SCHEDULE: True}, before)
    assert record.to_put_back(Settings({SCHEDULE: True, MAX_RUNNING: 6})) == {SCHEDULE: None}
    assert record.to_put_back(Settings({MAX_RUNNING: 4}, (SCHEDULE,))) == {MAX_RUNNING: 2}
    again = record.with_change({MAX_RUNNING: 6}, Settings({SCHEDULE: True, MAX_RUNNING: 4}))
    assert again.to_put_back(Settings({SCHEDULE: True, MAX_RUNNING: 4})) == {SCHEDULE: None, MAX_RUNNING: 2}


@pytest.mark.parametrize(
    "record",
    [
        {"max_running": 2},
        {"former": {MAX_RUNNING: 2}, "tried": {}},
        {"former": {MAX_RUNNING: 2}, "tried": {MAX_RUNNING: 4}},
        {"former": {"other": 2}, "tried": {"other": [4]}},
    ],
)
def test_a_record_of_something_else_is_no_licence_to_set_anything(record: dict[str, t.Any]) -> None:
    with pytest.raises(GitLabError, match="put back by hand"):
        Record.read(record)


@pytest.mark.parametrize("options", [{MAX_RUNNING: 4}, {"restore": {}}, {"remember": True}])
def test_putting_back_takes_no_wishes(options: dict[str, t.Any]) -> None:
    given = {**NOTHING, "restore": None, "remember": False, "state": "restored"}
    _bbm_settings.refuse_options(given, "restored")
    with pytest.raises(GitLabError, match=next(iter(options))):
        _bbm_settings.refuse_options({**given, **options}, "restored")
