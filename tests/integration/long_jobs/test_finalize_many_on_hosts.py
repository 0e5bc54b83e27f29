# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_finalize of many in one process on the mini GitLab: side by side, the same rows as by GitLab's task, once."""

from __future__ import annotations

import json
import sys
import typing as t
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finalizing import COPY, SIX, Host, kill_controller, left_behind, playbook
from instances import Instances

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import job_arguments_json, shell_command

ROWS = 20000
JOB = "finalize-many"
# Two share a table.
TABLES = ["ci_stages", "taggings", "deployments", "taggings", "events", "projects"]


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("many") as instances:
        instances.up({"old": "gitlab-14.2.7", "two": "gitlab-17.11.7-two-databases"})
        for host in ("old", "two"):
            instances.sh(host, f"gitlab-ctl stop sidekiq; gitlab-rake 'mini_gitlab:seed[{ROWS}]'")
        yield instances


@pytest.fixture
def old(fleet: Instances) -> t.Iterator[Host]:
    """GitLab 14.2 with one database and without Sidekiq."""
    host = Host(fleet, "old")
    host.clear()
    yield host
    host.end_commands()


@pytest.fixture
def two(fleet: Instances) -> t.Iterator[tuple[Host, Host]]:
    """GitLab 17.11 with main and ci in databases of their own, without Sidekiq."""
    main, ci = Host(fleet, "two"), Host(fleet, "two", "gitlabhq_production_ci")
    main.clear()
    ci.clear()
    yield main, ci
    main.end_commands()


class Interval(t.NamedTuple):
    """When the jobs of one migration ran."""

    table: str
    start: datetime
    end: datetime


def intervals(host: Host) -> list[Interval]:
    text = host.sql(
        "SELECT jsonb_agg(jsonb_build_array(table_name, first, last) ORDER BY id) FROM ("
        " SELECT m.id, m.table_name, min(j.started_at) AS first, max(j.finished_at) AS last"
        " FROM batched_background_migrations AS m JOIN batched_background_migration_jobs AS j"
        " ON j.batched_background_migration_id = m.id GROUP BY m.id) AS i"
    )
    return [
        Interval(table, datetime.fromisoformat(first), datetime.fromisoformat(last))
        for table, first, last in json.loads(text)
    ]


def at_once(found: t.Sequence[Interval]) -> int:
    """The largest number of migrations that ran at the same time."""
    return max(sum(other.start <= one.start < other.end for other in found) for one in found)


def no_table_twice(found: t.Sequence[Interval]) -> bool:
    pairs = [(one, other) for number, one in enumerate(found) for other in found[number + 1 :]]
    return all(one.end <= other.start for one, other in pairs if one.table == other.table)


def queue_six(host: Host) -> list[str]:
    host.clear()
    for table, _column, (_sources, targets) in SIX:
        for target in targets:
            host.sql(f"UPDATE {table} SET {target} = 0 WHERE {target} <> 0")
    return [f"main_{host.add(COPY, *configuration)}" for configuration in SIX]


def queue_slow(host: Host, seconds: float) -> list[str]:
    """Queue one for each table, which take eight times so long each; the second of a table has other arguments."""
    return [f"main_{host.add('SlowJob', table, 'id', [seconds, n])}" for n, table in enumerate(TABLES)]


def test_the_six_of_the_runbook_end_as_by_gitlabs_task(old: Host) -> None:
    queue_six(old)
    for table, column, arguments in SIX:
        old.sh(shell_command(FINALIZE_TASK, [COPY, table, column, job_arguments_json(arguments)]))
    by_task = left_behind(old)
    assert old.statuses() == [3] * 6

    ids = queue_six(old)
    assert left_behind(old) != by_task
    result = old.run(all=True, parallel=3, poll_interval=1)
    assert not result["failed"], result
    assert left_behind(old) == by_task
    assert [one["id"] for one in result["migrations"]] == ids
    for one, (_table, _column, arguments) in zip(result["migrations"], SIX, strict=True):
        assert (one["before"]["state"], one["after"]["state"], one["way"]) == ("active", "finished", "runner")
        assert (one["job_arguments"], one["error"], one["changed"]) == (arguments, None, True)
        assert one["seconds"] > 0
    (command,) = result["commands"]
    assert command[:2] == ["/opt/gitlab/bin/gitlab-rails", "runner"]
    assert result["diff"]["after"] == dict.fromkeys(ids, "finished")

    before = old.traces()
    again = old.run(all=True, parallel=3)
    assert (again["changed"], again["migrations"], again["commands"]) == (False, [], [])
    assert old.traces() == before


def test_different_tables_overlap_in_time_and_one_table_never_does(old: Host, tmp_path: Path) -> None:
    ids = queue_slow(old, 0.2)
    with playbook(old, tmp_path, all=True, parallel=3) as (process, output):
        old.wait_until(lambda: process.poll() is not None, 120)
        text = output.read_text()
    assert process.returncode == 0, text
    found = intervals(old)
    assert at_once(found) == 3
    assert no_table_twice(found)
    assert {job["attempts"] for job in old.jobs()} == {1}
    # Each one is seen at work and at its end.
    for one, table in zip(ids, TABLES, strict=True):
        lines = [line for line in text.splitlines() if f"SlowJob on {table} ({one})" in line]
        assert any("finalizing" in line for line in lines), text
        assert any("finished" in line for line in lines), text


def test_one_at_a_time_keeps_to_the_order_of_the_ids(old: Host) -> None:
    queue_slow(old, 0.01)
    result = old.run(all=True, poll_interval=1)
    assert not result["failed"], result
    assert len(result["commands"]) == 1
    found = intervals(old)
    assert at_once(found) == 1
    assert [one.start for one in found] == sorted(one.start for one in found)


def test_a_number_that_makes_no_sense_is_an_error_and_changes_nothing(old: Host) -> None:
    old.add("SlowJob", "taggings", "id", [0.01])
    before = old.traces()
    numbers = [0, 9, -1]
    results = old.fleet.run_each(old.name, "bbm_finalize", [{"all": True, "parallel": number} for number in numbers])
    for number, result in zip(numbers, results, strict=True):
        assert result["failed"]
        assert f"parallel cannot be {number}" in result["msg"]
    assert old.traces() == before


def test_one_failure_among_them_has_its_own_error(old: Host) -> None:
    old.add("SlowJob", "ci_stages", "id", [0.01])
    old.add("AlwaysRaises", "taggings", "id", [])
    old.add("BackfillLongGone", "events", "id", [])
    old.add("SlowJob", "taggings", "id", [0.01])
    result = old.run(all=True, parallel=2, poll_interval=1)
    assert result["failed"]
    assert "(1 more failed.)" in result["msg"]
    assert old.statuses() == [3, 5, 5, 3]
    errors = [one["error"] for one in result["migrations"]]
    assert (errors[0], errors[3]) == (None, None)
    assert "ArgumentError: boom from the job" in errors[1]
    assert "BackfillLongGone" in errors[2]
    causes = [one["diagnosis"] and one["diagnosis"]["cause"] for one in result["migrations"]]
    assert causes == [None, "job_failed", "class_removed", None]
    assert "boom from the job" in result["migrations"][1]["log_tail"]


def test_two_of_three_by_their_ids_one_with_exhausted_jobs_and_one_abandoned(old: Host) -> None:
    failed = old.add(COPY, *SIX[0], status=4)
    old.add_job(failed, status=2, attempts=3)
    orphaned = old.add("SlowJob", "taggings", "id", [0.01], status=5)
    orphan = old.add_job(orphaned)
    third = old.add("SlowJob", "events", "id", [0.01])
    result = old.run(migrations=[f"main_{orphaned}", f"main_{failed}"], parallel=2, poll_interval=1)
    assert not result["failed"], result
    first, second = result["migrations"]
    assert (first["reset_jobs"], second["freed_jobs"]) == (1, [orphan])
    assert old.statuses() == [3, 3, 1]
    assert old.run(migrations=[f"main_{third}"], poll_interval=1)["migrations"][0]["way"] == "rake"


def test_check_mode_shows_one_command_and_changes_nothing(old: Host) -> None:
    old.add(COPY, *SIX[0])
    orphaned = old.add("SlowJob", "taggings", "id", [0.01], status=5)
    old.add_job(orphaned)
    before = old.traces()
    result = old.run(check=True, all=True, parallel=2)
    assert not result["failed"], result
    assert result["changed"]
    (command,) = result["commands"]
    assert [len(lane) for lane in json.loads(command[-1])["lanes"]] == [1, 1]
    assert [one["after"]["state"] for one in result["migrations"]] == ["finished", "finished"]
    assert len(result["migrations"][1]["freed_jobs"]) == 1
    assert old.traces() == before


def test_two_databases_side_by_side_each_in_its_own_and_no_more_than_the_pool_has_room_for(
    two: tuple[Host, Host],
) -> None:
    main, ci = two
    for table in ("taggings", "events", "deployments"):
        main.add("SlowJob", table, "id", [0.3], gitlab_schema="'gitlab_main'")
    for table in ("ci_stages", "ci_builds", "ci_builds_metadata"):
        ci.add("SlowJob", table, "id", [0.3], gitlab_schema="'gitlab_ci'")
    # Of Rails' five connections the main thread has one.
    result = main.run(all=True, parallel=8, poll_interval=1)
    assert not result["failed"], result
    assert [one["id"].split("_")[0] for one in result["migrations"]] == ["main"] * 3 + ["ci"] * 3
    assert {one["way"] for one in result["migrations"]} == {"runner"}
    assert len(result["commands"]) == 1
    assert (set(main.statuses()), set(ci.statuses())) == ({3}, {3})
    assert at_once([*intervals(main), *intervals(ci)]) == 4
    assert all(job["attempts"] == 1 for job in [*main.jobs(), *ci.jobs()])


def some_work_is_done(host: Host) -> bool:
    return len([job for job in host.jobs() if job["status"] == 3]) >= 4


def ended_right(host: Host) -> None:
    """Everything is finished, and no batch ran twice that was not interrupted."""
    assert set(host.statuses()) == {3}
    assert {job["status"] for job in host.jobs()} == {3}
    ranges = [(job["batched_background_migration_id"], job["min_value"]) for job in host.jobs()]
    assert len(ranges) == len(set(ranges))


def test_a_killed_controller_loses_nothing(old: Host, tmp_path: Path) -> None:
    # Long enough for the next run to find it at work.
    queue_slow(old, 1.5)
    with playbook(old, tmp_path, all=True, parallel=3) as (process, _output):
        old.wait_until(old.jobs)
        kill_controller(process, tmp_path)
    assert JOB in old.sh("ls /var/lib/gitlab_fleet_upgrade/jobs")
    before = len(old.archived(JOB))
    result = old.run(all=True, parallel=3, poll_interval=1)
    assert not result["failed"], result
    ended_right(old)
    assert {job["attempts"] for job in old.jobs()} == {1}
    assert len(old.archived(JOB)) == min(10, before + 1)
    assert result["commands"] == []


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_killed_process_is_a_failure_and_the_next_run_ends_right(old: Host, tmp_path: Path, name: str) -> None:
    for number, table in enumerate(TABLES):
        # Of different lengths, so that they are not all between two batches at the same moment.
        old.add("SlowJob", table, "id", [0.6 + number / 10])
    with playbook(old, tmp_path, all=True, parallel=3) as (process, output):
        old.wait_until(lambda: some_work_is_done(old))
        old.sh(f"pkill -{name} -f '/rail[s] runner'")
        old.wait_until(lambda: process.poll() is not None, 120)
        text = output.read_text()
    assert process.returncode == 2, text
    assert "is finalizing, not finished" in text
    assert old.statuses().count(3) >= 3
    interrupted = old.statuses().count(5)
    assert 1 <= interrupted <= 3
    orphans = [job["id"] for job in old.jobs() if job["status"] == 1]
    # Only SIGKILL leaves no time to give the batches back.
    assert 1 <= len(orphans) <= interrupted if name == "KILL" else orphans == []
    result = old.run(all=True, parallel=3, poll_interval=1)
    assert not result["failed"], result
    assert sorted(job for one in result["migrations"] for job in one["freed_jobs"]) == orphans
    ended_right(old)


def test_a_single_one_that_runs_already_is_taken_up(old: Host, tmp_path: Path) -> None:
    first = f"main_{old.add('SlowJob', 'projects', 'id', [4])}"
    queue_slow(old, 0.1)
    with playbook(old, tmp_path, migration=first) as (process, _output):
        old.wait_until(old.jobs)
        kill_controller(process, tmp_path)
    result = old.run(all=True, parallel=3, poll_interval=1)
    assert not result["failed"], result
    assert [one["way"] for one in result["migrations"]] == ["rake", *["runner"] * 6]
    assert {job["attempts"] for job in old.jobs()} == {1}
    ended_right(old)


def test_one_asked_for_while_all_are_running_is_told_when_it_is_done(old: Host, tmp_path: Path) -> None:
    first = f"main_{old.add('SlowJob', 'projects', 'id', [0.5])}"
    # Long enough to be still at work then; it is ended after the test.
    old.add("SlowJob", "taggings", "id", [60])
    with playbook(old, tmp_path, all=True, parallel=2) as (process, _output):
        old.wait_until(old.jobs)
        result = old.run(migration=first, poll_interval=1)
        assert process.poll() is None
    assert not result["failed"], result
    assert (result["migrations"][0]["way"], result["commands"]) == ("runner", [])
    assert old.statuses() == [3, 5]


def test_a_job_orphaned_on_the_way_is_found_and_freed_while_the_others_go_on(old: Host, tmp_path: Path) -> None:
    spinning = old.add("SlowJob", "taggings", "id", [0.5])
    # Busy longer than that one spins: its queries must not be taken for the other's.
    old.add("SlowJob", "events", "id", [10])
    with playbook(old, tmp_path, all=True, parallel=2, orphan_grace=3) as (process, output):
        old.wait_until(old.jobs)
        orphan = old.add_job(spinning, max_value=2500, updated_at="now() - interval '10 minutes'")
        old.wait_until(lambda: process.poll() is not None, 200)
        text = output.read_text()
    assert process.returncode == 0, text
    assert old.statuses() == [3, 3]
    (freed,) = [job for job in old.jobs() if job["id"] == orphan]
    assert (freed["status"], freed["attempts"]) == (3, 2)
    assert {job["attempts"] for job in old.jobs() if job["id"] != orphan} == {1}


def test_where_the_runner_cannot_start_the_tasks_do_it(old: Host) -> None:
    old.add("SlowJob", "taggings", "id", [0.01])
    old.add("SlowJob", "events", "id", [0.01])
    old.sh(
        "cp -p /opt/gitlab/bin/gitlab-rails /root/gitlab-rails;"
        " printf '#!/bin/sh\\necho bundler: command not found: rails >&2\\nexit 127\\n' >/opt/gitlab/bin/gitlab-rails"
    )
    try:
        result = old.run(all=True, poll_interval=1)
    finally:
        old.sh("mv /root/gitlab-rails /opt/gitlab/bin/gitlab-rails")
    assert not result["failed"], result
    assert [one["way"] for one in result["migrations"]] == ["rake", "rake"]
    assert "did not begin: The command failed with exit code 127" in result["migrations"][0]["notes"][0]
    assert old.statuses() == [3, 3]
