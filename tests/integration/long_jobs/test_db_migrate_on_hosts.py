# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""db_migrate and gitlab_reconfigure on the mini GitLab, by a real ansible-playbook over real SSH."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finalizing import JOBS_DIRECTORY, Host
from instances import Instances

# Queues a background migration: can run again.
QUEUES = ["20210421022010", "20210519154612"]
# Makes a table: cannot.
MAKES_TABLE = "20210709024048"
CI_QUEUES = "20241104154512"
PRELOAD = "/opt/gitlab/embedded/service/gitlab-rails/db/post_migrate/20990101000000_slow_for_a_test.rb"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("migrate") as instances:
        instances.up({"old": "gitlab-14.2.7", "two": "gitlab-17.8.7-two-databases"})
        instances.sh("old", "gitlab-ctl stop sidekiq")
        yield instances


@pytest.fixture
def old(fleet: Instances) -> Host:
    """GitLab 14.2 with all migrations up and no background migration."""
    host = Host(fleet, "old")
    host.clear()
    host.sql(f"INSERT INTO schema_migrations (version) VALUES ('{MAKES_TABLE}') ON CONFLICT DO NOTHING")
    return host


def forget(host: Host, *versions: str) -> None:
    listed = ", ".join(f"'{version}'" for version in versions)
    host.sql(f"DELETE FROM schema_migrations WHERE version IN ({listed})")


def traces(host: Host) -> str:
    return host.sql("SELECT version FROM schema_migrations ORDER BY version") + host.sh(
        f"find {JOBS_DIRECTORY} -type f -printf '%p %T@\\n' 2>/dev/null | sort"
    )


def test_what_is_down_is_migrated_and_a_second_run_does_nothing(old: Host) -> None:
    forget(old, *QUEUES)
    expected = traces(old)
    planned = old.run("db_migrate", check=True)
    assert planned["changed"]
    assert [one["version"] for one in planned["pending"]] == QUEUES
    assert planned["commands"] == [["/opt/gitlab/bin/gitlab-rake", "db:migrate"]]
    assert traces(old) == expected

    result = old.run("db_migrate", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"]
    assert [(one["database"], one["version"]) for one in result["applied"]] == [("main", version) for version in QUEUES]
    assert result["applied"][0]["name"] == "BackfillCiBuildsMetadataBuildIdForBigintConversion"
    assert all(one["seconds"] is not None for one in result["applied"])
    assert (result["before"], result["after"], result["pending"]) == ({"main": 2}, {"main": 0}, [])
    assert result["diff"] == {"before": {"down": {"main": 2}}, "after": {"down": {"main": 0}}}
    assert old.sh(f"stat -c %a {result['log']}") == "600"

    expected = traces(old)
    again = old.run("db_migrate")
    assert (again["changed"], again["applied"], again["commands"], again["log"]) == (False, [], [], None)
    assert traces(old) == expected


def test_post_deployment_migrations_can_be_left_out(old: Host) -> None:
    forget(old, *QUEUES)
    result = old.run("db_migrate", skip_post_deployment=True)
    assert not result["failed"], result
    assert not result["changed"]
    assert old.run("db_migrate")["changed"]


def test_a_failure_has_its_diagnosis_and_what_was_done_before_it(old: Host) -> None:
    forget(old, QUEUES[0], MAKES_TABLE)
    result = old.run("db_migrate", poll_interval=1)
    assert result["failed"]
    assert result["changed"]
    assert [one["version"] for one in result["applied"]] == QUEUES[:1]
    assert [one["version"] for one in result["pending"]] == [MAKES_TABLE]
    diagnosis = result["diagnosis"]
    assert (diagnosis["cause"], diagnosis["migration_version"]) == ("object_exists", MAKES_TABLE)
    assert "mark_migration_complete" in result["remedy"]
    assert "rake aborted!" in result["output"]
    assert "PG::DuplicateTable" in old.sh(f"cat $(dirname {result['log']})/errors")

    # The cause is mended, and the failure is not told again.
    old.sql(f"INSERT INTO schema_migrations (version) VALUES ('{MAKES_TABLE}')")
    assert not old.run("db_migrate")["failed"]


def test_both_databases_are_counted(fleet: Instances) -> None:
    main, ci = Host(fleet, "two"), Host(fleet, "two", "gitlabhq_production_ci")
    for host in (main, ci):
        forget(host, CI_QUEUES)
    result = main.run("db_migrate", poll_interval=1)
    assert not result["failed"], result
    assert result["before"] == {"main": 1, "ci": 1}
    assert result["after"] == {"main": 0, "ci": 0}
    assert [(one["database"], one["version"]) for one in result["applied"]] == [
        ("main", CI_QUEUES),
        ("ci", CI_QUEUES),
    ]


def test_another_run_of_another_task_is_waited_for_by_hand(old: Host) -> None:
    forget(old, *QUEUES)
    old.sh(
        f"printf '%s\\n' 'class SlowForATest < ActiveRecord::Migration[6.1]' 'def up; sleep 40; end' end > {PRELOAD}"
    )
    try:
        started = old.run("db_migrate", timeout=2, poll_interval=1)
        assert started["failed"]
        assert started["timed_out"]
        other = old.run("db_migrate", task="gitlab:db:configure")
        assert other["failed"]
        assert "is running on this host" in other["msg"]
        taken_up = old.run("db_migrate", poll_interval=1)
        assert not taken_up["failed"], taken_up
        assert "20990101000000" in [one["version"] for one in taken_up["applied"]]
        assert taken_up["notes"] == ["It was running already; this run took it up."]
    finally:
        old.sh(f"rm -f {PRELOAD}")
        forget(old, "20990101000000")


def test_no_database_no_run(old: Host) -> None:
    old.sh("gitlab-ctl stop postgresql")
    try:
        result = old.run("db_migrate")
    finally:
        old.sh("gitlab-ctl start postgresql; for n in $(seq 30); do gitlab-psql -c 'SELECT 1' && break; sleep 1; done")
    assert result["failed"]
    assert "does not answer" in result["msg"]
    assert result["gitlab_version"] == "14.2.7-ee"


def test_reconfigure_reports_what_it_updated(old: Host) -> None:
    assert old.run("gitlab_reconfigure", check=True)["updated_resources"] is None
    result = old.run("gitlab_reconfigure", poll_interval=1)
    assert not result["failed"], result
    assert result["changed"] is (result["updated_resources"] != 0)
    assert "gitlab Reconfigured!" in result["log_tail"]
    assert result["commands"] == [["/opt/gitlab/bin/gitlab-ctl", "reconfigure"]]


def test_a_failing_reconfigure_says_why(old: Host) -> None:
    forget(old, MAKES_TABLE)
    old.sh("rm -f /var/opt/gitlab/gitlab-rails/upgrade-status/db-migrate-*")
    result = old.run("gitlab_reconfigure", poll_interval=1)
    old.sql(f"INSERT INTO schema_migrations (version) VALUES ('{MAKES_TABLE}')")
    assert result["failed"]
    assert result["diagnosis"]["cause"] == "object_exists"
    assert result["diagnosis"]["migration_version"] == MAKES_TABLE
    assert "gitlab-ctl reconfigure ended with exit status" in result["msg"]
    assert not old.run("gitlab_reconfigure", poll_interval=1)["failed"]
