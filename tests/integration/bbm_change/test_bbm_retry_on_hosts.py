# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_retry on the models of three versions, and in a second database."""

from __future__ import annotations

import typing as t

import pytest
from bbm_places import OPEN, PLACES, STRICT, Place, Rows

if t.TYPE_CHECKING:
    from instances import Instances

BEFORE = [[3, 1, 1000, 1, 1000], [2, 3, 1000, 1001, 1800]]
# As GitLab's own engine splits a failed job: half the batch each, no attempt used.
AFTER = [[3, 1, 1000, 1, 1000], [2, 0, 500, 1001, 1500], [2, 0, 500, 1501, 1800]]


@pytest.fixture(params=PLACES, ids=lambda place: f"{place.host}-{place.database}")
def rows(changing: Instances, request: pytest.FixtureRequest) -> Rows:
    found = Rows(changing, request.param)
    found.clear()
    return found


@pytest.fixture
def open_rows(changing: Instances) -> Rows:
    found = Rows(changing, Place(OPEN))
    found.clear()
    return found


def test_a_failed_migration_shows_why_and_is_active_again(rows: Rows) -> None:
    number = rows.add_failed()
    untouched = rows.all()
    shown = rows.run("bbm_retry", check=True, all=True)
    assert not shown["failed"], shown
    assert shown["changed"]
    assert rows.all() == untouched

    result = rows.run("bbm_retry", migration=rows.id(number))
    assert not result["failed"], result
    assert result["changed"]
    assert rows.status(number) == 1
    assert rows.jobs(number) == AFTER
    (one,) = result["migrations"]
    assert one["failed_jobs"] == shown["migrations"][0]["failed_jobs"]
    assert result["commands"] == shown["commands"]
    assert result["diff"] == {"before": {rows.id(number): "failed"}, "after": {rows.id(number): "active"}}
    assert one["jobs_before"] == {"pending": 0, "running": 0, "failed": 1, "exhausted": 1}
    assert one["jobs_after"] == {"pending": 0, "running": 0, "failed": 2, "exhausted": 0}
    (job,) = one["failed_jobs"]
    assert (job["min_value"], job["max_value"], job["attempts"]) == (1001, 1800, 3)
    if rows.place.has_log:
        assert (job["error"]["exception_class"], job["error"]["exception_message"]) == (
            "ArgumentError",
            "boom from the job",
        )
    else:
        assert job["error"] is None

    again = rows.run("bbm_retry", all=True)
    assert (again["changed"], again["migrations"], again["commands"]) == (False, [], [])
    assert rows.jobs(number) == AFTER


def test_what_has_not_failed_is_refused_where_gitlab_would_let_it_through(open_rows: Rows) -> None:
    numbers = {status: open_rows.add(status=status, column_name=f"'c{status}'") for status in (0, 1, 3, 5, 6, 9)}
    before = open_rows.all()
    cases: list[dict[str, t.Any]] = [{"migration": f"main_{number}"} for number in numbers.values()]
    cases += [{"migration": "main_999999"}, {"migration": "85"}, {"all": False}, {"migration": "main_1", "all": True}]
    for options, result in zip(cases, open_rows.fleet.run_each(OPEN, "bbm_retry", cases), strict=True):
        assert result["failed"], options
        assert result["msg"], options
    assert open_rows.all() == before


def test_all_failed_ones_of_both_databases_go_in_one_boot(changing: Instances) -> None:
    main, ci = Rows(changing, Place(STRICT)), Rows(changing, Place(STRICT, "ci"))
    main.clear()
    ci.clear()
    finished = main.add(status=3, column_name="'tag_id'")
    failed = {rows: rows.add_failed() for rows in (main, ci)}
    result = main.run("bbm_retry", all=True)
    assert not result["failed"], result
    assert [one["id"] for one in result["migrations"]] == [rows.id(number) for rows, number in failed.items()]
    assert len(result["commands"]) == 1
    for rows, number in failed.items():
        assert rows.status(number) == 1
        assert rows.jobs(number) == AFTER
    assert main.status(finished) == 3


def test_several_are_named_and_go_in_one_boot_or_not_at_all(open_rows: Rows) -> None:
    first, second, third = (open_rows.add_failed(job_arguments=f"'[{number}]'") for number in (1, 2, 3))
    finished = open_rows.add(status=3, column_name="'tag_id'")
    before = open_rows.all()
    refused = [
        [open_rows.id(first), open_rows.id(finished)],
        [open_rows.id(first), "main_999999"],
    ]
    for result in open_rows.fleet.run_each(OPEN, "bbm_retry", [{"migrations": ids} for ids in refused]):
        assert result["failed"], result
        assert result["msg"]
    assert open_rows.all() == before

    none, result = open_rows.fleet.run_each(
        OPEN, "bbm_retry", [{"migrations": []}, {"migrations": [open_rows.id(third), open_rows.id(first)]}]
    )
    assert not none["failed"] and not none["changed"], none
    assert not result["failed"], result
    assert len(result["commands"]) == 1
    assert [open_rows.status(number) for number in (first, second, third, finished)] == [1, 4, 1, 3]


def test_one_whose_class_is_gone_stays_failed_and_the_others_are_retried(open_rows: Rows) -> None:
    gone = open_rows.add_failed(job_class_name="'RemovedByTheUpgrade'")
    good = open_rows.add_failed()
    result = open_rows.run("bbm_retry", all=True)
    assert result["failed"]
    assert "RemovedByTheUpgrade" in result["msg"]
    assert "uninitialized constant" in result["msg"]
    assert (open_rows.status(gone), open_rows.status(good)) == (4, 1)
    assert open_rows.jobs(gone) == BEFORE
    assert open_rows.jobs(good) == AFTER
    assert [bool(one["error"]) for one in result["migrations"]] == [True, False]
