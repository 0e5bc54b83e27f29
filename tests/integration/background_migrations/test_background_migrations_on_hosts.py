# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""background_migrations on real rows, real Sidekiq sets in a real Redis, and the code of four versions."""

from __future__ import annotations

import typing as t

import pytest
from gitlab_tables import migration
from older_queues import ENUM, FIRST, GONE, HOSTS, STUCK, TWO, Older, counts, emptied

if t.TYPE_CHECKING:
    from instances import Instances

FIVE = {
    "BackfillDraftStatusOnMergeRequests": "14.2",
    "PopulateTopicsTotalProjectsCountCache": "14.4",
    "UpdateVulnerabilityOccurrencesLocation": "14.5",
    "PopulateTopicsNonPrivateProjectsCount": "14.8",
    "ResetDuplicateCiRunnersTokenValuesOnProjects": "14.9",
}


@pytest.fixture(params=HOSTS)
def host(queues: Instances, request: pytest.FixtureRequest) -> Older:
    return emptied(queues, request.param)


@pytest.fixture
def first(queues: Instances) -> Older:
    return emptied(queues, FIRST)


@pytest.fixture
def enum(queues: Instances) -> Older:
    return emptied(queues, ENUM)


@pytest.fixture
def stuck(queues: Instances) -> Older:
    return emptied(queues, STUCK)


@pytest.fixture
def two(queues: Instances) -> Older:
    return emptied(queues, TWO)


def fill(host: Older) -> None:
    """Jobs in each place: two with a row and a message, one with a row alone, and messages without a row."""
    host.row("TrackedJob", [1, 100])
    host.message("queued", "TrackedJob", [1, 100])
    host.row("TrackedJob", [101, 200])
    host.message("scheduled", "TrackedJob", [101, 200])
    host.row("TrackedJob", [201, 300])
    host.message("scheduled", "UntrackedJob", [1, 2])
    host.message("retrying", "UntrackedJob", [3, 4])
    host.message("dead", "UntrackedJob", [5, 6])
    # None of ours.
    host.redis('LPUSH resque:gitlab:queue:background_migration \'{"class":"MergeWorker","args":["TrackedJob",[7,8]]}\'')


@pytest.mark.parametrize("place", ["queued", "scheduled", "retrying"])
def test_what_only_sidekiq_knows_is_not_safe_either(stuck: Older, place: str) -> None:
    # Of others, and of the batched kind.
    stuck.redis(
        'ZADD resque:gitlab:schedule 1 \'{"class":"MergeWorker","args":[7]}\'',
        'ZADD resque:gitlab:retry 1 \'{"class":"Database::BatchedBackgroundMigrationWorker","args":[]}\'',
    )
    nothing = stuck.fleet.run(STUCK, "bbm_status")
    assert (nothing["safe_to_upgrade"], nothing["reasons"]) == (True, [])
    stuck.message(place, "UntrackedJob", [1, 2])
    one = stuck.fleet.run(STUCK, "bbm_status")
    assert one["background_migrations"]["in_sidekiq"] == {"queued": 0, "scheduled": 0, "retrying": 0, place: 1}
    assert (one["safe_to_upgrade"], one["unasked"]) == (False, [])
    assert f"wait in Sidekiq: 1 {place}; run background_migrations" in one["reasons"][0]


def test_without_redis_there_is_no_boot_and_no_claim(first: Older) -> None:
    fill(first)
    first.sh("gitlab-ctl stop redis")
    try:
        status = first.fleet.run(FIRST, "bbm_status")
        rows = first.run(sidekiq=False)
        broken = first.run()
        unclear = first.run(state="cleared", poll_interval=1)
    finally:
        first.sh("gitlab-ctl start redis; for n in $(seq 30); do gitlab-rails runner 1 && break; sleep 1; done")
    assert ["Redis does not answer" in reason for reason in status["unasked"]] == [True]
    assert not rows["failed"], rows
    assert counts(rows) == {("main", "TrackedJob"): (3, None, None, None, None)}
    assert (rows["cleared"], rows["commands"], rows["totals"]["remaining"]) == (False, [], None)
    # That nothing could be asked does not read as nothing being left.
    assert broken["failed"]
    assert "did not say what is left" in broken["msg"]
    assert unclear["failed"]
    first.clear()
    empty, planned = first.run(sidekiq=False), first.run(check=True, state="cleared")
    assert empty["cleared"] is None
    assert (planned["changed"], planned["commands"]) == (False, [])


def test_all_is_counted_and_worked_off_once_and_a_second_run_changes_nothing(host: Older) -> None:
    fill(host)
    expected = host.traces()
    shown = host.run()
    assert not shown["failed"], shown
    assert not shown["changed"]
    assert counts(shown) == {("main", "TrackedJob"): (3, 1, 1, 0, 0), ("main", "UntrackedJob"): (0, 0, 1, 1, 1)}
    assert shown["totals"] == {"pending": 3, "remaining": 3, "failed": 2}
    assert shown["cleared"] is False
    assert [reason.split(";")[0] for reason in shown["reasons"]] == [
        "TrackedJob (main): 3 pending, 2 in Sidekiq's queue or schedule",
        "UntrackedJob (main): 1 in Sidekiq's queue or schedule, 2 failed",
    ]
    assert shown["classes"][1]["last_error"]["exception_class"] == "PG::Oops"
    assert all(one["present"] for one in shown["classes"])
    assert ("15.1" in " ".join(shown["notes"])) is (host.name == TWO)
    planned = host.run(check=True, state="cleared")
    assert not planned["failed"], planned
    assert planned["changed"]
    assert {one["class_name"]: one["jobs"] for one in planned["attempted"]} == {"TrackedJob": 5, "UntrackedJob": 3}
    assert planned["diff"]["after"] == {}
    assert host.traces() == expected

    result = host.run(state="cleared", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"] and result["cleared"]
    assert result["commands"] == planned["commands"]
    assert (result["classes"], result["reasons"], result["errors"], result["marked"]) == ([], [], [], [])
    assert result["before"] == shown["classes"]
    assert result["attempted"] == [
        {"database": "main", "class_name": "TrackedJob", "jobs": 3},
        {"database": "main", "class_name": "UntrackedJob", "jobs": 3},
    ]
    assert sorted(host.ran("TrackedJob")) == [[1, 100], [101, 200], [201, 300]]
    assert sorted(host.ran("UntrackedJob")) == [[1, 2], [3, 4], [5, 6]]
    assert host.pending() == []
    # What is no background migration is still there.
    assert host.messages() == {
        "main": ['["TrackedJob", [7, 8]]'],
        "ci": [],
        "scheduled": [],
        "retrying": [],
        "dead": [],
    }
    assert "UntrackedJob (main)  from Sidekiq  3 left" in host.fleet.output

    cases: list[dict[str, t.Any]] = [{"state": "cleared", "poll_interval": 1}, {}]
    again, empty = host.fleet.run_each(host.name, "background_migrations", cases)
    assert not again["failed"], again
    assert (again["changed"], again["cleared"], again["attempted"]) == (False, True, [])
    assert (empty["cleared"], empty["classes"]) == (True, [])


def test_only_the_chosen_classes_are_touched_and_failed_messages_can_be_left(first: Older) -> None:
    fill(first)
    cases = [
        {"state": "cleared", "classes": ["::TrackedJob"], "poll_interval": 1},
        {},
        {"state": "cleared", "retry_dead_jobs": False, "poll_interval": 1},
    ]
    chosen, shown, left = first.fleet.run_each(FIRST, "background_migrations", cases)
    assert not chosen["failed"], chosen
    assert (chosen["cleared"], chosen["classes"]) == (True, [])
    assert counts(shown) == {("main", "UntrackedJob"): (0, 0, 1, 1, 1)}
    assert not left["failed"], left
    assert left["cleared"]
    assert first.ran("UntrackedJob") == [[1, 2]]
    assert counts(left) == {("main", "UntrackedJob"): (0, 0, 0, 1, 1)}


def test_the_five_that_stick_are_named_and_marked_only_on_request(stuck: Older) -> None:
    for class_name in FIVE:
        stuck.row(class_name, [1, 100])
    stuck.row("TrackedJob", [1, 100])
    shown = stuck.run()
    assert {one["class_name"]: one["stuck"]["since"] for one in shown["classes"] if one["stuck"]} == FIVE

    result = stuck.run(state="cleared", poll_interval=1)
    assert result["failed"]
    assert (result["cleared"], result["marked"]) == (False, [])
    assert [line.split()[0] for line in stuck.pending()] == list(FIVE)
    for class_name in FIVE:
        assert f"apply_remedies: [{class_name}]" in result["msg"]
    # The row of a class that works is gone from the list.
    assert stuck.ran("TrackedJob") == [[1, 100]]

    name = "PopulateTopicsNonPrivateProjectsCount"
    expected = stuck.traces()
    planned = stuck.run(check=True, state="cleared", classes=[name], apply_remedies=[name])
    assert planned["marked"] == [{"database": "main", "class_name": name, "rows": 1}]
    assert stuck.traces() == expected
    one = stuck.run(state="cleared", classes=[name], apply_remedies=[name], poll_interval=1)
    assert not one["failed"], one
    assert one["marked"] == planned["marked"]
    assert [line.split()[0] for line in stuck.pending()] == [other for other in FIVE if other != name]

    rest = stuck.run(state="cleared", apply_remedies=list(FIVE), poll_interval=1)
    assert not rest["failed"], rest
    assert sorted(one["class_name"] for one in rest["marked"]) == sorted(set(FIVE) - {name})
    assert stuck.pending() == []
    assert stuck.run(state="cleared", apply_remedies=list(FIVE), poll_interval=1)["changed"] is False


def test_a_known_one_that_has_work_to_do_does_it_and_needs_no_remedy(stuck: Older) -> None:
    stuck.sql("DELETE FROM issues; INSERT INTO issues (id, title) VALUES (7, 'Draft: no')")
    stuck.row("BackfillDraftStatusOnMergeRequests", [1, 10])
    result = stuck.run(state="cleared", apply_remedies=["BackfillDraftStatusOnMergeRequests"], poll_interval=1)
    assert not result["failed"], result
    assert result["marked"] == []
    assert stuck.ran("BackfillDraftStatusOnMergeRequests") == [[1, 10]]


def test_no_row_is_marked_while_sidekiq_has_a_message_of_its_class(first: Older) -> None:
    # 14.0 does not have the class, so that nothing can work the message off.
    name = "UpdateVulnerabilityOccurrencesLocation"
    first.row(name, [1, 100])
    first.message("scheduled", name, [1, 100])
    expected = first.messages(), first.pending()
    result = first.run(state="cleared", apply_remedies=[name], poll_interval=1)
    assert result["failed"]
    assert "no such class any more" in result["msg"]
    assert (result["marked"], result["changed"]) == ([], False)
    assert (first.messages(), first.pending()) == expected
    first.redis("FLUSHALL")
    result = first.run(state="cleared", apply_remedies=[name], poll_interval=1)
    assert not result["failed"], result
    assert first.pending() == []


def test_what_sidekiq_is_working_on_is_left_to_it_and_is_not_cleared(enum: Older) -> None:
    enum.row("TrackedJob", [1, 100])
    enum.row("TrackedJob", [101, 200])
    enum.at_work("TrackedJob", [1, 100])
    result = enum.run(state="cleared", poll_interval=1)
    assert result["failed"]
    assert "TrackedJob (main): 1 pending, 1 that Sidekiq is working on; wait until Sidekiq has ended" in result["msg"]
    assert enum.ran("TrackedJob") == [[101, 200]]
    assert enum.pending() == ["TrackedJob [1, 100]"]


def test_a_class_that_fails_is_told_with_its_error_and_the_others_are_done(enum: Older) -> None:
    for number in range(5):
        enum.row("RaisingJob", [number, number])
    enum.message("queued", "RaisingJob", [8, 9])
    enum.message("dead", "UntrackedJob", [1, 2])
    enum.row("TrackedJob", [1, 100])
    result = enum.run(state="cleared", poll_interval=1)
    assert result["failed"] and result["changed"]
    assert (
        "ArgumentError: boom from the older job (8 to 9) (with the arguments [8, 9]). Mend the cause" in result["msg"]
    )
    assert "run the same task again" in result["msg"]
    # Once from Sidekiq, and after three the class is given up.
    assert [one["arguments"] for one in result["errors"]] == [[8, 9], [0, 0], [1, 1]]
    assert counts(result) == {("main", "RaisingJob"): (5, 1, 0, 0, 0)}
    assert (enum.ran("TrackedJob"), enum.ran("UntrackedJob")) == ([[1, 100]], [[1, 2]])
    # GitLab puts a message that failed back.
    assert enum.messages()["main"] == ['["RaisingJob", [8, 9]]']


def test_each_database_has_its_own_rows_and_queue(two: Older) -> None:
    for database in ("main", "ci"):
        two.row("TrackedJob", [1, 100], database)
        two.message("queued", "TrackedJob", [1, 100], database)
    two.row("TrackedJob", [101, 200], "ci")
    two.row("BackfillDraftStatusOnMergeRequests", [1, 100])
    two.row("GoneLongAgo", [1, 100], "ci")
    shown = two.run()
    assert counts(shown) == {
        ("main", "BackfillDraftStatusOnMergeRequests"): (1, 0, 0, 0, 0),
        ("main", "TrackedJob"): (1, 1, 0, 0, 0),
        ("ci", "GoneLongAgo"): (1, 0, 0, 0, 0),
        ("ci", "TrackedJob"): (2, 1, 0, 0, 0),
    }
    assert [one["present"] for one in shown["classes"]] == [False, True, False, True]
    result = two.run(state="cleared", apply_remedies=["BackfillDraftStatusOnMergeRequests"], poll_interval=1)
    assert result["failed"]
    assert "GoneLongAgo (ci): 1 pending; this version of GitLab has no such class any more" in result["msg"]
    assert (two.pending("main"), two.pending("ci")) == ([], ["GoneLongAgo [1, 100]"])
    assert {(one["database"], one["class_name"]): one["jobs"] for one in result["attempted"]} == {
        ("main", "TrackedJob"): 1,
        ("ci", "TrackedJob"): 2,
    }
    assert result["marked"] == [{"database": "main", "class_name": "BackfillDraftStatusOnMergeRequests", "rows": 1}]


def test_where_nothing_is_left_of_them_only_the_rows_are_read(queues: Instances) -> None:
    gone = emptied(queues, GONE)
    cases: list[dict[str, t.Any]] = [{}, {"state": "cleared", "poll_interval": 1}]
    for result in gone.fleet.run_each(GONE, "background_migrations", cases):
        assert not result["failed"], result
        assert (result["changed"], result["cleared"]) == (False, True)
        assert result["totals"] == {"pending": 0, "remaining": None, "failed": None}
        assert "has no code for them any more" in result["notes"][-1]
    gone.row("TrackedJob", [1, 100], "ci")
    result = gone.run(state="cleared", poll_interval=1)
    assert result["failed"]
    assert counts(result) == {("ci", "TrackedJob"): (1, None, None, None, None)}
    assert "no such class any more" in result["msg"]
    assert gone.pending("ci") == ["TrackedJob [1, 100]"]


def test_senseless_options_change_nothing(first: Older) -> None:
    fill(first)
    expected = first.traces()
    cases: list[dict[str, t.Any]] = [
        {"classes": ["nonsense; DROP TABLE"]},
        {"state": "cleared", "classes": ["TrackedJob", "lower_case"]},
        {"state": "cleared", "apply_remedies": ["TrackedJob"]},
        {"apply_remedies": ["BackfillDraftStatusOnMergeRequests"]},
        {"state": "gone"},
        {"state": "cleared", "timeout": -1},
    ]
    for options, result in zip(cases, first.fleet.run_each(FIRST, "background_migrations", cases), strict=True):
        assert result["failed"], options
        assert result["msg"], options
    assert first.traces() == expected


def test_the_failure_of_14_8_is_told_as_one_that_can_be_ignored(stuck: Older) -> None:
    version = "/opt/gitlab/embedded/service/gitlab-rails/VERSION"
    stuck.sql(
        migration((14, 9), job_class_name="'BackfillNamespaceIdForNamespaceRoute'", table_name="'routes'", status=4)
    )
    stuck.sh(f"cp {version} /root/VERSION; echo 14.8.6-ee >{version}")
    try:
        shown = stuck.run(sidekiq=False)
        status = stuck.fleet.run(STUCK, "bbm_status")
    finally:
        stuck.sh(f"mv /root/VERSION {version}")
        stuck.sql("DELETE FROM batched_background_migrations")
    assert "has failed: its failure is a defect of GitLab 14.8 and can be ignored until 14.9" in shown["notes"][0]
    assert status["notes"] == shown["notes"]
    assert not any("BackfillNamespaceIdForNamespaceRoute" in reason for reason in status["reasons"])


def test_bbm_status_names_the_known_ones_with_what_clears_them(stuck: Older) -> None:
    stuck.row("TrackedJob", [1, 100])
    stuck.row("PopulateTopicsTotalProjectsCountCache", [1, 100])
    reasons = stuck.fleet.run(STUCK, "bbm_status")["reasons"]
    assert any("TrackedJob (1); wait until Sidekiq" in reason for reason in reasons)
    assert any("apply_remedies: [PopulateTopicsTotalProjectsCountCache]" in reason for reason in reasons)
