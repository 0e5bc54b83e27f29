# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bbm_status, bbm_wait and the playbook status on hosts, over SSH: one database, and two."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from gitlab_tables import job, migration
from instances import Instances

ONE, TWO = "bbm-one", "bbm-two"
HOSTS = {ONE: "gitlab-14.2.7", TWO: "gitlab-17.11.7-two-databases"}
DATABASES = {
    ONE: {"main": "gitlabhq_production"},
    TWO: {"main": "gitlabhq_production", "ci": "gitlabhq_production_ci"},
}
VERSIONS = {ONE: (14, 2), TWO: (17, 11)}

# su takes no data on stdin, so that the module itself is sent to the host.
BY_MODULE = {"ansible_become": True, "ansible_become_method": "ansible.builtin.su"}
NO_PYTHON = {"ansible_python_interpreter": "/nonexistent/python3"}


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("bbm") as instances:
        instances.up(HOSTS)
        for host in HOSTS:
            # The rows are the tests'; no worker may take them.
            instances.sh(host, "gitlab-ctl stop sidekiq")
        yield instances


@pytest.fixture
def hosts(fleet: Instances) -> Instances:
    for host, databases in DATABASES.items():
        for dbname in databases.values():
            fleet.sql(
                host,
                "TRUNCATE batched_background_migrations, batched_background_migration_jobs RESTART IDENTITY CASCADE;"
                " TRUNCATE features, feature_gates, background_migration_jobs",
                dbname,
            )
    return fleet


def queue(hosts: Instances, host: str, dbname: str = "gitlabhq_production", **values: object) -> None:
    hosts.sql(host, migration(VERSIONS[host], **values), dbname)


def timeless(result: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in result.items() if name not in ("read_at", "invocation")}


@pytest.mark.parametrize("host", HOSTS)
def test_the_controller_and_the_module_read_alike(hosts: Instances, host: str) -> None:
    queue(hosts, host, total_tuple_count=10000, updated_at="'2026-01-01 00:00+00'", job_arguments="'[[\"a b\"], null]'")
    hosts.sql(
        host,
        job(1, created_at="'2026-01-01 00:00+00'", updated_at="now() - interval '10 days 1 minute'")
        + "INSERT INTO features (key, created_at, updated_at) VALUES ('execute_batched_migrations_on_schedule', now(), now())",
    )
    by_controller = hosts.run(host, "bbm_status", variables=NO_PYTHON)
    by_module = hosts.run(host, "bbm_status", variables=BY_MODULE)
    assert timeless(by_controller) == timeless(by_module)
    assert by_controller["failed"] is False and by_controller["changed"] is False
    assert by_controller["migrations"][0]["progress"]["percent"] == 10.0
    assert by_controller["scheduler"]["execute_batched_migrations_on_schedule"] == {"enabled": False, "set": True}
    assert [command[0] for command in by_controller["commands"]] == ["/opt/gitlab/bin/gitlab-psql"] * len(
        DATABASES[host]
    )
    # That it was the module: without Python it cannot run.
    assert hosts.run(host, "bbm_status", variables={**BY_MODULE, **NO_PYTHON})["failed"] is True


def test_every_database_is_read_and_none_is_left_out_by_a_filter(hosts: Instances) -> None:
    queue(hosts, TWO, status=3)
    queue(hosts, TWO, dbname="gitlabhq_production_ci", status=4, gitlab_schema="'gitlab_ci'")
    result = hosts.run(TWO, "bbm_status", database=["main"])
    assert [row["id"] for row in result["migrations"]] == ["main_1"]
    assert result["unfinished"] == ["ci_1"]
    assert result["safe_to_upgrade"] is False
    assert "failed: BackfillThings on things (ci_1)" in result["reasons"][0]


@pytest.mark.parametrize("way", [{}, BY_MODULE], ids=["controller", "module"])
def test_errors_say_what_to_do(hosts: Instances, way: dict[str, t.Any]) -> None:
    def failure(host: str = ONE, variables: dict[str, t.Any] | None = None, **options: t.Any) -> str:
        result = hosts.run(host, "bbm_status", variables={**way, **(variables or {})}, **options)
        assert result["failed"] is True and result["changed"] is False
        return str(result["msg"])

    assert "There is no batched background migration main_7" in failure(migrations=["main_7"])
    assert "This instance has no database 'ci'. It has: main." in failure(database=["ci"])
    assert "'x y' is no name of a database. Correct the option databases." in failure(databases={"main": "x y"})
    assert "PostgreSQL has no database nowhere" in failure(databases={"main": "nowhere"})
    assert "The database postgres has no table batched_background_migrations" in failure(databases={"main": "postgres"})
    assert "Cannot read /home/git/gitlab/VERSION: No such file or directory." in failure(install_type="source")
    assert "nonsense" in failure(state=["nonsense"])
    hosts.sh(ONE, "gitlab-ctl stop postgresql")
    try:
        assert "does not answer" in failure() and "gitlab-ctl start postgresql" in failure()
    finally:
        hosts.sh(ONE, "gitlab-ctl start postgresql")
        hosts.await_ready(ONE)


def test_without_root_it_says_so(hosts: Instances) -> None:
    as_git = {"ansible_become": True, "ansible_become_user": "git", "ansible_become_method": "ansible.builtin.sudo"}
    result = hosts.run(ONE, "bbm_status", variables=as_git)
    assert result["failed"] is True
    assert "Run as root (become: true)." in result["msg"]


def test_no_read_leaves_anything_behind(hosts: Instances) -> None:
    listing = "find / -xdev -newer /tmp/before -type f ! -path '/proc/*' ! -path '/var/log/*' ! -path '/var/opt/gitlab/postgresql/*' | sort"
    hosts.sh(ONE, "touch /tmp/before; sleep 1")
    before = hosts.sh(ONE, listing)
    assert hosts.run(ONE, "bbm_status")["failed"] is False
    assert hosts.sh(ONE, listing) == before


def later(*steps: t.Callable[[], object], seconds: float = 2.5) -> threading.Thread:
    def work() -> None:
        for step in steps:
            time.sleep(seconds)
            step()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_wait_shows_progress_and_ends(hosts: Instances) -> None:
    queue(hosts, TWO, total_tuple_count=4000)
    queue(hosts, TWO, dbname="gitlabhq_production_ci", total_tuple_count=2000, gitlab_schema="'gitlab_ci'")

    def work(number: int, dbname: str) -> t.Callable[[], object]:
        values = job(1, min_value=number * 1000, max_value=number * 1000 + 999, started_at="now()", finished_at="now()")
        return lambda: hosts.sql(TWO, values, dbname)

    def finish(dbname: str) -> t.Callable[[], object]:
        return lambda: hosts.sql(TWO, "UPDATE batched_background_migrations SET status = 3", dbname)

    main, ci = DATABASES[TWO].values()
    worker = later(work(1, main), work(1, ci), work(2, main), finish(ci), finish(main))
    result = hosts.run(TWO, "bbm_wait", delay=1, timeout=60)
    worker.join()
    assert result["failed"] is False and result["changed"] is False
    assert (result["reached"], result["left"]) == (True, [])
    assert [row["state"] for row in result["waited_for"]] == ["finished", "finished"]
    assert result["status"]["safe_to_upgrade"] is True
    assert [sample["left"] for sample in result["history"]] == sorted(
        (sample["left"] for sample in result["history"]), reverse=True
    )
    for line in (
        "bbm-two  waiting until 2 batched background migrations are finished",
        "bbm-two  BackfillThings on things (main_1)  25 %",
        "bbm-two  BackfillThings on things (ci_1)  50 %",
        "bbm-two  BackfillThings on things (main_1)  finished  100 %",
    ):
        assert line in hosts.output


def test_a_wait_outlives_a_restart_of_the_database_and_of_the_host(hosts: Instances) -> None:
    queue(hosts, ONE)
    worker = later(
        lambda: hosts.sh(ONE, "gitlab-ctl stop postgresql; sleep 3; gitlab-ctl start postgresql"),
        lambda: hosts.call("reboot", ONE),
        lambda: hosts.await_ready(ONE),
        lambda: hosts.sh(ONE, "gitlab-ctl stop sidekiq"),
        lambda: hosts.sql(ONE, "UPDATE batched_background_migrations SET status = 3"),
    )
    result = hosts.run(ONE, "bbm_wait", delay=1, timeout=300, max_connection_failures=200)
    worker.join()
    assert result["failed"] is False, result["msg"]
    assert result["reached"] is True
    assert "no answer (1 of 200): " in hosts.output
    assert "answers again" in hosts.output


def test_a_wait_ends_when_somebody_pauses(hosts: Instances) -> None:
    queue(hosts, ONE)
    worker = later(lambda: hosts.sql(ONE, "UPDATE batched_background_migrations SET status = 0"))
    result = hosts.run(ONE, "bbm_wait", delay=1, timeout=60)
    worker.join()
    assert result["failed"] is True
    assert "BackfillThings on things (main_1) is paused, so it never ends" in result["msg"]
    assert result["left"] == ["main_1"]


def test_a_wait_ends_with_the_diagnosis_when_nothing_moves(hosts: Instances) -> None:
    queue(hosts, ONE, updated_at="now() - interval '1 day'")
    result = hosts.run(ONE, "bbm_wait", delay=1, stall_timeout=3, timeout=60)
    assert result["failed"] is True
    assert "(main_1) has been stalled for" in result["msg"]
    assert "check that Sidekiq runs" in result["msg"]


def test_check_mode_looks_once(hosts: Instances) -> None:
    queue(hosts, ONE)
    result = hosts.run(ONE, "bbm_wait", check=True)
    assert (result["failed"], result["reached"], result["left"]) == (False, False, ["main_1"])
    assert len(result["history"]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline": "yesterday"}, "neither a time of day nor a moment"),
        ({"deadline": "2020-01-01T00:00"}, "has passed"),
        ({"delay": 0}, "delay cannot be 0"),
        ({"timeout": -1}, "timeout cannot be -1"),
        ({"state": ["active"]}, "Unsupported parameters"),
        ({"migrations": ["main_99"]}, "There is no batched background migration main_99"),
    ],
)
def test_a_wait_refuses_what_makes_no_sense(hosts: Instances, options: dict[str, t.Any], words: str) -> None:
    result = hosts.run(ONE, "bbm_wait", **options)
    assert result["failed"] is True
    assert words in result["msg"]


def test_the_table_of_the_fleet(hosts: Instances) -> None:
    queue(hosts, TWO, total_tuple_count=4000, status=0)
    good = hosts.play("gitlab_fleet.upgrade.status", "-e", "gitlab_upgrade_hosts=all")
    assert good.returncode == 0, good.stdout + good.stderr
    for line in (
        "bbm-one   14.2.7-ee   yes   0 done",
        "bbm-two   17.11.7-ee  no    1 paused, 0 done",
        "main_1      0 %   paused  BackfillThings on things  STALLED: it is paused",
        "2 instances: 1 safe to upgrade, 1 not, 0 unknown",
    ):
        assert line in good.stdout
    hosts.call("stop", ONE)
    try:
        bad = hosts.play("gitlab_fleet.upgrade.status", "-e", "gitlab_upgrade_hosts=all")
    finally:
        hosts.call("start", ONE)
        hosts.await_ready(ONE)
        hosts.sh(ONE, "gitlab-ctl stop sidekiq")
    assert bad.returncode == 2, bad.stdout + bad.stderr
    assert "bbm-one   ?           unknown  unreachable: " in bad.stdout
    assert "2 instances: 0 safe to upgrade, 1 not, 1 unknown" in bad.stdout
    assert "Nothing is proven for: bbm-one." in bad.stdout + bad.stderr
