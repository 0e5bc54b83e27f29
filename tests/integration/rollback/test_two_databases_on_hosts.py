# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two databases are backed up, upgraded and rolled back as one, past PgBouncer and by a way of their own each."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from backing_up import STATE, Host
from failed_upgrade import BACKUP, DIGEST, Rollback, assert_as_before, image, with_packages
from instances import Instances

HOST = "two"
OLD, NEW = "17.8.7-ee", "17.11.7-ee"
DATABASES = {"main": "gitlabhq_production", "ci": "gitlabhq_production_ci"}
# The two servers; it is the same PostgreSQL, which tells by which address it was reached.
WAYS = {"main": "127.0.0.2", "ci": "127.0.0.3"}
DIRECT: dict[str, t.Any] = {
    "database_host": WAYS["main"],
    "database_port": 5432,
    "database_overrides": {"ci": {"host": WAYS["ci"]}},
}
CI_ALONE: dict[str, t.Any] = {"database_overrides": {"ci": {"host": WAYS["ci"], "port": 5432}}}
# PostgreSQL listens there only after the first reconfigure.
SETTINGS = (
    """
postgresql['listen_address'] = '127.0.0.1,127.0.0.2,127.0.0.3'
postgresql['trust_auth_cidr_addresses'] = %w(127.0.0.0/8)
""",
    """
gitlab_rails['db_host'] = '127.0.0.1'
gitlab_rails['db_port'] = 6432
""",
)
# Belongs to the superuser, so that emptying the databases does not take it along.
RECORDED = """
CREATE SCHEMA recorded;
CREATE TABLE recorded.ways (address text);
GRANT USAGE ON SCHEMA recorded TO PUBLIC;
GRANT INSERT ON recorded.ways TO PUBLIC;
CREATE FUNCTION recorded.way() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO recorded.ways VALUES (host(inet_server_addr())); END $$;
CREATE EVENT TRIGGER way ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION recorded.way();
"""


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    pooler = Path(__file__).parents[1] / "support" / "pooler.py"
    with with_packages("two-databases", {HOST: image("image", "gitlab-17.8.7-two-databases")}) as fleet:
        fleet.call("push", HOST, str(pooler), "/root/pooler.py")
        fleet.sh(HOST, "echo 'PB:123456:respawn:/usr/bin/python3 /root/pooler.py' >>/etc/inittab; kill -HUP 1")
        for settings in SETTINGS:
            fleet.sh(HOST, f"cat >>/etc/gitlab/gitlab.rb <<'EOT'{settings}EOT\ngitlab-ctl reconfigure")
        fleet.sh(HOST, "cd /; gitlab-rake 'mini_gitlab:seed_data[3]'")
        fleet.sql(HOST, "INSERT INTO ci_stages (project_id, name) VALUES (1, 'build'), (2, 'test')", DATABASES["ci"])
        yield fleet


def prefixed(role: str) -> dict[str, t.Any]:
    return {f"{role}_{name}": value for name, value in DIRECT.items()}


def test_a_backup_goes_past_pgbouncer_to_each_database(fleet: Instances) -> None:
    refused = fleet.run_each(HOST, "gitlab_backup", [{}, CI_ALONE])
    assert [result["failed"] for result in refused] == [True, True]
    assert "PgBouncer's (ci, main)" in refused[0]["msg"]
    assert "PgBouncer's (main)" in refused[1]["msg"]

    variables = {"backup_id": BACKUP, "backup_prove": True, "gitlab_upgrade_hosts": HOST, **prefixed("backup")}
    with Host(fleet, HOST).pg_dump('echo "${@: -1} $PGHOST $PGPORT" >>/tmp/dumps; exec $real "$@"'):
        done = fleet.play("gitlab_fleet.upgrade.backup", "-e", json.dumps(variables))
    assert done.returncode == 0, done.stdout
    assert sorted(fleet.sh(HOST, "cat /tmp/dumps").splitlines()) == sorted(
        f"{DATABASES[name]} {address} 5432" for name, address in WAYS.items()
    )
    manifest = json.loads(fleet.sh(HOST, f"cat {STATE}/backups/{BACKUP}/manifest.json"))
    assert manifest["verified"]
    assert manifest["proved_by_restore"]["databases"].keys() == DATABASES.keys()
    assert {one["name"]: one["rows"]["public.ci_stages"] for one in manifest["databases"]} == {"main": 0, "ci": 2}


def test_both_databases_come_back_past_pgbouncer_each_by_its_way(fleet: Instances) -> None:
    fleet.sh(HOST, f"{DIGEST} >/root/digest; apt-get install -y gitlab-ee={NEW}.0")
    assert " down " not in fleet.sh(HOST, "gitlab-rake db:migrate:status")
    fleet.sh(HOST, "gitlab-ctl stop sidekiq")
    fleet.sql(HOST, "INSERT INTO projects (name, path, namespace_id) SELECT 'late', 'late', id FROM namespaces")
    fleet.sql(HOST, "INSERT INTO ci_stages (name) VALUES ('late'), ('later')", DATABASES["ci"])
    for dbname in DATABASES.values():
        fleet.sql(HOST, RECORDED, dbname)

    digest = fleet.sh(HOST, "sha256sum /etc/gitlab/gitlab-secrets.json | cut -d' ' -f1")
    asked = {"backup": BACKUP, "node": HOST, "secrets": {HOST: digest}}
    ways: list[dict[str, t.Any]] = [{}, CI_ALONE, {"database_overrides": {"sec": {"port": 5432}}}, DIRECT]
    answers = fleet.run_each(HOST, "rollback_check", [{**asked, **way, "count_rows": False} for way in ways])
    assert [[reason["check"] for reason in answer["reasons"]] for answer in answers] == [["connection"]] * 3 + [[]]
    texts = [answer["reasons"][0]["text"] for answer in answers[:3]]
    assert "PgBouncer's (ci, main)" in texts[0]
    assert "PgBouncer's (main)" in texts[1]
    assert "has no database sec" in texts[2]

    done = Rollback(fleet, HOST).run(**prefixed("rollback_restore"))
    assert done.returncode == 0, done.stdout
    assert "Rolled back to before: install GitLab 17.8.7-ee in the place of 17.11.7-ee" in done.stdout
    assert "main projects: 1 rows more" in done.stdout
    assert "ci ci_stages: 2 rows more" in done.stdout
    for name, dbname in DATABASES.items():
        assert fleet.sql(HOST, "SELECT DISTINCT address FROM recorded.ways", dbname) == WAYS[name]
        fleet.sql(HOST, "DROP EVENT TRIGGER way; DROP SCHEMA recorded CASCADE", dbname)
    # The dumps cannot tell what should have been dropped beside them.
    assert fleet.sql(HOST, "SELECT to_regclass('ai_catalog_items') IS NULL", DATABASES["ci"]) == "t"
    assert_as_before(fleet, HOST, OLD, moving=())

    again = Rollback(fleet, HOST).run(**prefixed("rollback_restore"))
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in again.stdout
