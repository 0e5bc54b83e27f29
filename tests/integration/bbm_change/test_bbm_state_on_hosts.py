# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_state on the models of three versions, and in a second database."""

from __future__ import annotations

import json
import typing as t

import pytest
from bbm_places import ENUM, OPEN, PLACES, STRICT, Place, Rows
from gitlab_tables import job

if t.TYPE_CHECKING:
    from instances import Instances

JOURNAL = "/var/lib/gitlab_fleet_upgrade/marked.jsonl"
GATES = {"reason": "told so by support", "accept_data_loss": True, "without_backup": True}


@pytest.fixture(params=PLACES, ids=lambda place: f"{place.host}-{place.database}")
def rows(changing: Instances, request: pytest.FixtureRequest) -> Rows:
    return begin(changing, request.param)


def begin(changing: Instances, place: Place) -> Rows:
    found = Rows(changing, place)
    found.clear()
    changing.sh(place.host, f"rm -f {JOURNAL}")
    return found


def journal(rows: Rows) -> list[dict[str, t.Any]]:
    text = rows.fleet.sh(rows.place.host, f"cat {JOURNAL} 2>/dev/null || true")
    return [json.loads(line) for line in text.splitlines()]


def test_paused_and_active_again(rows: Rows) -> None:
    first, second = rows.add(), rows.add(status=0, column_name="'project_id'")
    rows.sql(job(first, status=1))
    untouched = rows.all()
    both: dict[str, t.Any] = {"migrations": [rows.id(first), rows.id(second)]}
    shown = rows.run("bbm_state", check=True, state="paused", **both)
    assert rows.all() == untouched
    paused = rows.run("bbm_state", state="paused", confirm_seconds=1, **both)
    assert not paused["failed"], paused
    assert (shown["changed"], paused["changed"]) == (True, True)
    assert shown["commands"] == paused["commands"]
    assert shown["diff"] == paused["diff"]
    assert [one["changed"] for one in paused["migrations"]] == [True, False]
    assert [one["confirmed"] for one in paused["migrations"]] == [True, None]
    assert paused["migrations"][0]["jobs_before"]["running"] == 1
    assert [rows.status(first), rows.status(second)] == [0, 0]

    active, again = rows.fleet.run_each(rows.place.host, "bbm_state", [{"state": "active", **both}] * 2)
    assert not active["failed"], active
    assert [one["after"]["state"] for one in active["migrations"]] == ["active", "active"]
    assert len(active["commands"]) == 1
    assert [rows.status(first), rows.status(second)] == [1, 1]
    assert (again["changed"], again["commands"]) == (False, [])
    assert journal(rows) == []


def test_marking_finished_shows_and_records_what_is_skipped(rows: Rows) -> None:
    number = rows.add_failed()
    untouched = rows.all()
    options: dict[str, t.Any] = {"migrations": [rows.id(number)], "state": "finished", **GATES}
    shown = rows.run("bbm_state", check=True, **options)
    assert rows.all() == untouched
    assert journal(rows) == []
    result, again = rows.fleet.run_each(rows.place.host, "bbm_state", [options] * 2)
    assert not result["failed"], result
    assert rows.status(number) == 3
    assert [found[0] for found in rows.jobs(number)] == [3, 3]
    skipped = result["migrations"][0]["skipped"]
    assert skipped == shown["migrations"][0]["skipped"]
    assert [(one["state"], one["min_value"], one["max_value"]) for one in skipped["jobs"]] == [("failed", 1001, 1800)]
    assert (skipped["job_count"], skipped["ranges"], skipped["range_count"]) == (1, [[1801, 2000]], 1)
    assert [entry["event"] for entry in journal(rows)] == ["begin", "marked"]
    for entry in journal(rows):
        assert (entry["migration"], entry["reason"]) == (rows.id(number), GATES["reason"])
        assert entry["skipped"] == skipped
    assert result["journal"] == JOURNAL
    assert (again["failed"], again["changed"]) == (False, False)
    assert len(journal(rows)) == 2


def test_every_other_way_is_refused_where_gitlab_would_let_it_through(changing: Instances) -> None:
    rows = begin(changing, Place(OPEN))
    numbers = {status: rows.add(status=status, column_name=f"'c{status}'") for status in range(7)}
    before = rows.all()
    refused = {"paused": (3, 4, 5), "active": (2, 3, 4, 6), "finished": (0, 1, 5)}
    cases: list[dict[str, t.Any]] = [
        # One that may be changed stands first, and must not be.
        {"state": state, "migrations": [rows.id(numbers[good]), rows.id(numbers[bad])], **GATES}
        for (state, bads), good in zip(refused.items(), (1, 0, 4), strict=True)
        for bad in bads
    ]
    failed = {"state": "finished", "migrations": [rows.id(numbers[4])]}
    cases += [{**failed, **GATES, name: value} for name, value in (("reason", " "), ("without_backup", False))]
    active = rows.id(numbers[1])
    cases += [failed, {"state": "paused", "migrations": [active, "main_999999"]}]
    cases += [{"state": "paused", "migrations": [active], "confirm_seconds": -1}]
    for options, result in zip(cases, changing.run_each(OPEN, "bbm_state", cases), strict=True):
        assert result["failed"], options
    assert rows.all() == before
    assert journal(rows) == []


def test_a_job_that_appears_after_the_pause_is_told(changing: Instances) -> None:
    rows = begin(changing, Place(OPEN))
    number = rows.add()
    new = job(number, status=1).replace("'", "'\\''")
    paused = f"SELECT count(*) FROM batched_background_migrations WHERE id = {number} AND status = 0"
    changing.sh(
        OPEN,
        f"(while [ \"$(gitlab-psql -XAtq -c '{paused}' </dev/null)\" != 1 ]; do sleep 0.3; done; sleep 5;"
        f" gitlab-psql -q -c '{new}' </dev/null) >/dev/null 2>&1 & disown",
    )
    result = rows.run("bbm_state", state="paused", migrations=[rows.id(number)], confirm_seconds=30)
    assert result["failed"]
    assert result["changed"]
    assert "was made after that" in result["msg"]
    assert result["migrations"][0]["confirmed"] is False
    assert rows.status(number) == 0


def test_a_row_that_became_another_migration_is_not_touched(changing: Instances) -> None:
    """What Ruby finds must be what SQL had read: seen here by calling the snippet with another table."""
    rows = begin(changing, Place(ENUM))
    number = rows.add()
    shown = rows.run("bbm_state", check=True, state="paused", migrations=[rows.id(number)])
    *command, value = shown["commands"][0]
    before = rows.all()
    other = json.dumps({**json.loads(value), "rows": [{**json.loads(value)["rows"][0], "table_name": "events"}]})
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in [*command, other])
    assert "another migration now" in changing.fails(ENUM, quoted)
    rows.sql(f"UPDATE batched_background_migrations SET status = 3 WHERE id = {number}")
    before = rows.all()
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in [*command, value])
    assert "Its status is 3 now" in changing.fails(ENUM, quoted)
    assert rows.all() == before


def test_both_databases_in_one_boot(changing: Instances) -> None:
    main, ci = begin(changing, Place(STRICT)), begin(changing, Place(STRICT, "ci"))
    numbers = {rows: rows.add() for rows in (ci, main)}
    ids = [rows.id(number) for rows, number in numbers.items()]
    result = main.run("bbm_state", state="paused", migrations=ids, confirm_seconds=0)
    assert not result["failed"], result
    assert [one["id"] for one in result["migrations"]] == ids
    assert [one["confirmed"] for one in result["migrations"]] == [None, None]
    assert len(result["commands"]) == 1
    assert [rows.status(number) for rows, number in numbers.items()] == [0, 0]
