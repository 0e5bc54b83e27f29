# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_settings on three versions."""

from __future__ import annotations

import json
import typing as t

import pytest
from bbm_places import ENUM, HOSTS, OPEN, STRICT

if t.TYPE_CHECKING:
    from instances import Instances

SCHEDULE = "execute_batched_migrations_on_schedule"
OPTIMIZE = "optimize_batched_migrations"
PARALLEL = "batched_migrations_parallel_execution"


@pytest.fixture(params=HOSTS)
def host(changing: Instances, request: pytest.FixtureRequest) -> str:
    return begin(changing, request.param)


def begin(changing: Instances, name: str) -> str:
    changing.sql(name, "TRUNCATE features, feature_gates")
    return name


def stored(changing: Instances, host: str) -> dict[str, t.Any]:
    """Each flag's gates, and the application settings, as they are in the database."""
    text = changing.sql(
        host,
        "SELECT jsonb_build_object('flags', (SELECT coalesce(jsonb_object_agg(f.key, (SELECT coalesce(jsonb_agg("
        " jsonb_build_array(g.key, g.value)), '[]') FROM feature_gates AS g WHERE g.feature_key = f.key)), '{}')"
        " FROM features AS f), 'settings', (SELECT to_jsonb(s) - 'updated_at' FROM application_settings AS s))",
    )
    return t.cast("dict[str, t.Any]", json.loads(text))


def asked(changing: Instances, host: str, *names: str) -> list[str]:
    """What GitLab's own code says of the flags."""
    code = "; ".join(f"puts Feature.enabled?(:{name}, type: :ops)" for name in names)
    return changing.sh(host, f"gitlab-rails runner '{code}'").split()[-len(names) :]


def test_flags_are_set_once_and_put_back_as_they_were(changing: Instances, host: str) -> None:
    before = stored(changing, host)
    wanted: dict[str, t.Any] = {SCHEDULE: False, OPTIMIZE: True}
    shown = changing.run(host, "bbm_settings", check=True, **wanted)
    assert stored(changing, host) == before
    done, again = changing.run_each(host, "bbm_settings", [wanted] * 2)
    assert not done["failed"], done
    assert stored(changing, host)["flags"] == {SCHEDULE: [], OPTIMIZE: [["boolean", "true"]]}
    assert asked(changing, host, SCHEDULE, OPTIMIZE) == ["false", "true"]
    assert (shown["changed"], done["changed"], again["changed"]) == (True, True, False)
    assert done["former"] == {SCHEDULE: None, OPTIMIZE: None}
    assert shown["settings"] == done["settings"] == again["settings"] == again["former"] == wanted
    assert shown["commands"] == done["commands"]
    assert len(done["commands"]) == 1
    assert again["commands"] == []

    back, twice = changing.run_each(host, "bbm_settings", [{"restore": done["former"]}] * 2)
    assert (back["failed"], back["changed"], twice["changed"]) == (False, True, False)
    assert back["former"] == wanted
    assert stored(changing, host) == before
    assert asked(changing, host, SCHEDULE) == ["true"]


def test_the_number_is_set_and_put_back(changing: Instances) -> None:
    host = begin(changing, STRICT)
    before = stored(changing, host)
    wanted: dict[str, t.Any] = {"max_running": 7, SCHEDULE: False}
    done = changing.run(host, "bbm_settings", **wanted)
    assert not done["failed"], done
    number = before["settings"]["database_max_running_batched_background_migrations"]
    assert done["former"] == {"max_running": number, SCHEDULE: None}
    assert stored(changing, host)["settings"] == {
        **before["settings"],
        "database_max_running_batched_background_migrations": 7,
    }
    assert done["diff"] == {"before": done["former"], "after": {"max_running": 7, SCHEDULE: False}}
    # As after a hop to a version that has one of them no more.
    back = changing.run(host, "bbm_settings", restore={**done["former"], PARALLEL: None})
    assert (back["failed"], back["changed"], back["absent"]) == (False, True, [PARALLEL])
    assert stored(changing, host) == before


RECORD = "/var/lib/gitlab_fleet_upgrade/bbm_settings.json"


def test_what_was_set_first_is_remembered_and_put_back(changing: Instances) -> None:
    """Twice changed, once by a run that was killed before it set anything; and nothing is asked without a record."""
    host = begin(changing, STRICT)
    before = stored(changing, host)
    number = before["settings"]["database_max_running_batched_background_migrations"]
    first: dict[str, t.Any] = {"max_running": 7, "remember": True}
    shown = changing.run(host, "bbm_settings", check=True, **first)
    assert shown["changed"] and shown["remembered"] == {}
    assert changing.sh(host, f"cat {RECORD} 2>/dev/null || true") == ""
    cases = [first, {"max_running": 9, SCHEDULE: False, "remember": True}]
    done, again = changing.run_each(host, "bbm_settings", cases)
    assert not done["failed"] and not again["failed"], again
    assert done["remembered"] == {"max_running": number}
    assert again["remembered"] == {"max_running": number, SCHEDULE: None}
    assert changing.sh(host, f"stat -c '%a %U' {RECORD}") == "600 root"

    shown = changing.run(host, "bbm_settings", check=True, state="restored")
    assert (shown["changed"], shown["settings"]) == (True, {"max_running": number, SCHEDULE: None})
    assert stored(changing, host)["flags"] == {SCHEDULE: []}
    back, nothing = changing.run_each(host, "bbm_settings", [{"state": "restored"}] * 2)
    assert (back["failed"], back["changed"], nothing["changed"], nothing["commands"]) == (False, True, False, [])
    assert len(back["commands"]) == 1
    assert stored(changing, host) == before
    assert changing.sh(host, f"cat {RECORD} 2>/dev/null || true") == ""


def test_a_value_that_somebody_set_meanwhile_is_left_alone(changing: Instances) -> None:
    host = begin(changing, STRICT)
    before = stored(changing, host)
    wanted: dict[str, t.Any] = {"max_running": 7, SCHEDULE: False, "remember": True}
    changing.run(host, "bbm_settings", **wanted)
    changing.run(host, "bbm_settings", max_running=5)
    back = changing.run(host, "bbm_settings", state="restored")
    assert (back["failed"], back["left_alone"], back["settings"]) == (False, ["max_running"], {SCHEDULE: None})
    after = stored(changing, host)
    assert after["settings"]["database_max_running_batched_background_migrations"] == 5
    assert after["flags"] == {}
    number = before["settings"]["database_max_running_batched_background_migrations"]
    changing.run(host, "bbm_settings", max_running=number)
    changing.sh(host, f"echo '{{}}' > {RECORD}")
    wrong = changing.run(host, "bbm_settings", state="restored")
    assert wrong["failed"] and RECORD in wrong["msg"]
    changing.sh(host, f"rm {RECORD}")
    assert stored(changing, host) == before


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (ENUM, {"max_running": 4}, "It exists from 15.7 on"),
        (OPEN, {PARALLEL: True}, "It exists from 15.7 to before 16.1"),
        (STRICT, {PARALLEL: True, SCHEDULE: False}, "always on"),
    ],
)
def test_a_version_says_what_it_does_not_have(
    changing: Instances, name: str, options: dict[str, t.Any], said: str
) -> None:
    before = stored(changing, begin(changing, name))
    result = changing.run(name, "bbm_settings", **options)
    assert result["failed"]
    assert said in result["msg"]
    assert stored(changing, name) == before


def test_bad_input_and_what_cannot_be_put_back_change_nothing(changing: Instances) -> None:
    host = begin(changing, STRICT)
    changing.sql(
        host,
        f"INSERT INTO features (key, created_at, updated_at) VALUES ('{SCHEDULE}', now(), now());"
        " INSERT INTO feature_gates (feature_key, key, value, created_at, updated_at)"
        f" VALUES ('{SCHEDULE}', 'percentage_of_time', '50', now(), now())",
    )
    before = stored(changing, host)
    cases: list[dict[str, t.Any]] = [
        {SCHEDULE: False},
        {},
        {"max_running": 0},
        {"restore": {"max_running": None}},
        {"restore": {"other": True}},
        {"restore": {}, "max_running": 3},
        {"state": "restored", "max_running": 3},
    ]
    for options, result in zip(cases, changing.run_each(host, "bbm_settings", cases), strict=True):
        assert result["failed"], options
    assert stored(changing, host) == before
