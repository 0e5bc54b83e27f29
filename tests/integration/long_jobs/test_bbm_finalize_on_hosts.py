# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_finalize on the mini GitLab, by a real ansible-playbook over real SSH."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finalizing import COPY, SIX, Host
from instances import Instances

ROWS = 20000
TAGGINGS = {"job_class_name": COPY, "table_name": "taggings", "column_name": "id", "job_arguments": SIX[5][2]}


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("finalize") as instances:
        instances.up({"old": "gitlab-14.2.7", "two": "gitlab-17.8.7-two-databases"})
        instances.sh("old", f"gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[{ROWS}]'")
        instances.sh("two", f"gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[{ROWS}]'")
        yield instances


@pytest.fixture
def old(fleet: Instances) -> t.Iterator[Host]:
    """GitLab 14.2 with one database and without Sidekiq."""
    host = Host(fleet, "old")
    host.clear()
    host.sql("UPDATE taggings SET id_convert_to_bigint = 0 WHERE id_convert_to_bigint <> 0")
    yield host
    host.sh("pkill -f 'bin/rak[e]' || true")


def taggings(host: Host, **values: t.Any) -> int:
    return host.add(COPY, *SIX[5], **values)


def copied(host: Host) -> int:
    return int(host.sql("SELECT count(*) FROM taggings WHERE id_convert_to_bigint = id"))


def only(result: dict[str, t.Any]) -> dict[str, t.Any]:
    (one,) = result["migrations"]
    assert isinstance(one, dict)
    return one


def test_one_is_finished_by_the_task_and_a_second_run_changes_nothing(old: Host) -> None:
    migration = taggings(old)
    result = old.run(poll_interval=1, **TAGGINGS)
    assert not result["failed"], result
    assert result["changed"]
    assert old.statuses() == [3]
    one = only(result)
    assert (one["id"], one["way"], one["log_tail"]) == (f"main_{migration}", "rake", "Done.\n")
    assert (one["before"]["state"], one["after"]["state"]) == ("active", "finished")
    assert one["job_arguments"] == SIX[5][2]
    assert copied(old) == ROWS
    assert old.sql("SELECT count(*) FROM taggings WHERE taggable_id_convert_to_bigint <> taggable_id") == "0"
    assert len(result["commands"]) == 1
    assert result["diff"]["after"] == {f"main_{migration}": "finished"}

    before = old.traces()
    again = old.run(**TAGGINGS)
    assert (again["changed"], again["commands"]) == (False, [])
    assert old.traces() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(TAGGINGS, job_arguments=[["id"], ["id_convert_to_bigint"]]), "What comes near: main_"),
        (dict(TAGGINGS, column_name="tag_id"), "There is no batched background migration"),
        (dict(TAGGINGS, database="ci"), "This instance has no database 'ci'"),
        ({"migration": "main_999999"}, "There is no batched background migration main_999999"),
        ({"migration": "85"}, "is not the id"),
        ({"migrations": ["main_999999"]}, "There is no batched background migration main_999999"),
        ({"all": False}, "Nothing says which migrations"),
        (dict(TAGGINGS, job_arguments="[]"), "must be a list"),
        (dict(TAGGINGS, all=True), "mutually exclusive"),
        ({"job_class_name": COPY}, "required together"),
        ({}, "one of the following is required"),
        (
            {"error_text": "rake aborted!\nPG::ConnectionBad: could not connect to server\n"},
            "is not about an unfinished",
        ),
    ],
)
def test_what_does_not_exist_or_makes_no_sense_is_an_error_and_changes_nothing(
    old: Host, options: dict[str, t.Any], message: str
) -> None:
    taggings(old)
    before = old.traces()
    result = old.run(**options)
    assert result["failed"]
    assert message in result["msg"]
    assert old.traces() == before


@pytest.mark.parametrize("status", [3, 6])
def test_a_finished_one_is_left_alone_and_a_finalized_one_is_never_touched(old: Host, status: int) -> None:
    taggings(old, status=status)
    before = old.traces()
    result = old.run(**TAGGINGS)
    assert not result["failed"]
    assert not result["changed"]
    assert only(result)["notes"]
    assert result["commands"] == []
    assert old.traces() == before


def test_a_state_that_nobody_knows_is_refused(old: Host) -> None:
    taggings(old, status=9)
    before = old.traces()
    result = old.run(**TAGGINGS)
    assert result["failed"]
    assert "has the status 9" in result["msg"]
    assert old.traces() == before


@pytest.mark.parametrize("status", [0, 1, 4, 5])
def test_check_mode_shows_the_command_and_changes_nothing(old: Host, status: int) -> None:
    migration = taggings(old, status=status)
    old.add_job(migration)
    old.add_job(migration, status=2, attempts=3, min_value=5001, max_value=10000)
    before = old.traces()
    result = old.run(check=True, **TAGGINGS)
    assert not result["failed"], result
    assert result["changed"]
    assert result["commands"][0][0] == "/opt/gitlab/bin/gitlab-rake"
    assert "taggings,id," in result["commands"][0][1]
    assert len(only(result)["freed_jobs"]) == 1
    assert old.traces() == before


def test_gitlabs_own_message_names_the_migration(old: Host) -> None:
    taggings(old)
    other = old.add(COPY, *SIX[0])
    text = (
        "rake aborted!\nStandardError: An error has occurred, all later migrations canceled:\n\n"
        "Expected batched background migration for the given configuration to be marked as 'finished', but it is 'active':"
        '\t{:job_class_name=>"CopyColumnUsingBackgroundMigrationJob", :table_name=>"taggings", :column_name=>"id",'
        ' :job_arguments=>[["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"]]}\n\n'
        "Finalize it manualy by running\n"
    )
    result = old.run(error_text=text)
    assert not result["failed"], result
    assert only(result)["table_name"] == "taggings"
    assert copied(old) == ROWS
    assert old.statuses() == [3, 1]
    assert old.run(migration=f"main_{other}")["changed"]
    assert old.statuses() == [3, 3]


def test_a_job_left_running_by_a_killed_process_is_freed_at_once(old: Host) -> None:
    migration = taggings(old, status=5)
    orphan = old.add_job(migration)
    result = old.run(**TAGGINGS)
    assert not result["failed"], result
    assert only(result)["freed_jobs"] == [orphan]
    assert "its process was killed" in only(result)["notes"][0]
    assert only(result)["seconds"] < 60
    assert copied(old) == ROWS
    assert old.jobs()[0]["attempts"] == 2


def test_with_an_older_sidekiq_around_the_sessions_are_watched_first(old: Host) -> None:
    old.sh("gitlab-ctl start sidekiq; sleep 4")
    try:
        migration = taggings(old, status=5)
        orphan = old.add_job(migration)
        result = old.run(orphan_grace=3, **TAGGINGS)
    finally:
        old.sh("gitlab-ctl stop sidekiq")
    assert not result["failed"], result
    assert only(result)["freed_jobs"] == [orphan]


def test_a_job_that_somebody_works_on_is_waited_for_and_not_freed(old: Host) -> None:
    migration = taggings(old, status=5)
    job = old.add_job(migration)
    update = "UPDATE taggings SET tag_id = tag_id WHERE id = 1"
    over = f"UPDATE batched_background_migration_jobs SET status = 3, finished_at = now() WHERE id = {job}"
    old.sh(
        f"( for n in $(seq 60); do echo '{update};'; sleep 0.2; done; echo '{over};' )"
        " | gitlab-psql -q >/dev/null 2>&1 </dev/stdin & disown"
    )
    old.sh("sleep 1")
    result = old.run(poll_interval=1, **TAGGINGS)
    assert not result["failed"], result
    assert only(result)["freed_jobs"] == []
    assert old.jobs()[0]["attempts"] == 1
    assert old.statuses() == [3]


def test_exhausted_jobs_of_an_old_version_get_new_attempts(old: Host) -> None:
    migration = taggings(old, status=4)
    old.add_job(migration, status=2, attempts=3)
    result = old.run(**TAGGINGS)
    assert not result["failed"], result
    assert only(result)["reset_jobs"] == 1
    assert copied(old) == ROWS


def test_arguments_that_are_no_list_are_finished_by_the_runner_on_an_old_version(old: Host) -> None:
    old.add("NoArgsJob", "taggings", "id", None)
    result = old.run(all=True, poll_interval=1)
    assert not result["failed"], result
    assert only(result)["way"] == "runner"
    assert copied(old) == ROWS
    assert '"before":1' in only(result)["log_tail"]
    assert '"after":3' in only(result)["log_tail"]


def test_a_job_that_raises_is_a_failure_with_its_own_error(old: Host) -> None:
    old.add("AlwaysRaises", "taggings", "id", [])
    result = old.run(all=True)
    assert result["failed"]
    assert "ArgumentError: boom from the job" in result["msg"]
    assert "AlwaysRaises on taggings" in result["msg"]
    one = only(result)
    assert (one["before"]["state"], one["after"]["state"]) == ("active", "finalizing")
    assert result["diagnosis"]["cause"] == "job_failed"
    assert one["remedy"]
    assert old.statuses() == [5]


def test_a_class_that_the_version_no_longer_has_says_what_to_do(old: Host) -> None:
    old.add("BackfillLongGone", "taggings", "id", [])
    result = old.run(all=True)
    assert result["failed"]
    assert "BackfillLongGone" in result["msg"]
    assert result["diagnosis"]["cause"] == "class_removed"


ANY_ARGUMENTS: list[list[t.Any]] = [
    [0.01, None, [["a", None], {"k": [1, True]}]],
    [0.01, 'quote " and \' and backslash \\ and \\" both'],
    [0.01, "comma, bracket ] [ and blank "],
    [0.01, "héllo ✓ $HOME `id` %s\nnew line"],
]


def test_a_timeout_leaves_the_work_running_and_the_next_run_takes_it_up(old: Host) -> None:
    migration = old.add("SlowJob", "taggings", "id", [1])
    first = old.run(migration=f"main_{migration}", timeout=4, poll_interval=1)
    assert first["failed"]
    assert first["timed_out"]
    assert "Run the same task again" in first["msg"]
    assert "finalize" in old.commands()
    second = old.run(migration=f"main_{migration}", poll_interval=1)
    assert not second["failed"], second
    assert len(old.archived(f"finalize-main_{migration}")) == 1
    assert {job["attempts"] for job in old.jobs()} == {1}


def test_in_a_second_database_where_the_task_does_nothing_the_runner_does_it(fleet: Instances) -> None:
    ci, main = Host(fleet, "two", "gitlabhq_production_ci"), Host(fleet, "two")
    ci.clear()
    main.clear()
    migration = ci.add("SlowJob", "ci_stages", "id", [0.01], gitlab_schema="'gitlab_ci'")
    result = main.run(all=True, poll_interval=1)
    assert not result["failed"], result
    one = only(result)
    assert (one["id"], one["way"]) == (f"ci_{migration}", "runner")
    assert "did nothing" in one["notes"][0]
    tasks = [argv[1] for argv in result["commands"] if argv[0].endswith("rake")]
    assert [task.split("[")[0].rsplit(":", 1)[-1] for task in tasks] == ["ci"]
    assert ci.statuses() == [3]


@pytest.mark.parametrize("arguments", ANY_ARGUMENTS)
def test_any_arguments_reach_the_row_by_the_task_and_by_the_runner(fleet: Instances, arguments: list[t.Any]) -> None:
    ci, main = Host(fleet, "two", "gitlabhq_production_ci"), Host(fleet, "two")
    ci.clear()
    main.clear()
    main.add("SlowJob", "taggings", "id", arguments, gitlab_schema="'gitlab_main'")
    ci.add("SlowJob", "ci_stages", "id", arguments, gitlab_schema="'gitlab_ci'")
    by_task = only(main.run(job_class_name="SlowJob", table_name="taggings", column_name="id", job_arguments=arguments))
    assert (by_task["way"], by_task["after"]["state"], by_task["notes"]) == ("rake", "finished", [])
    by_runner = only(
        main.run(job_class_name="SlowJob", table_name="ci_stages", column_name="id", job_arguments=arguments)
    )
    assert (by_runner["way"], by_runner["after"]["state"]) == ("runner", "finished")
    assert by_runner["after"]["job_arguments"] == arguments
