# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules on a self-compiled installation: everything runs as git, by sudo, Bundler and psql, in /home/git/gitlab."""

from __future__ import annotations

import typing as t

import pytest
from instances import RAILS_ROOT, Instances

HOST = "source"
BACKGROUND_MIGRATION: dict[str, t.Any] = {
    "job_class_name": "CopyColumnUsingBackgroundMigrationJob",
    "table_name": "ci_stages",
    "column_name": "id",
    "job_arguments": [["id"], ["id_convert_to_bigint"]],
}

# What GitLab's page on self-compiled installations makes: a user git that owns the application and is a role in PostgreSQL.
# The Linux package's own commands are taken away, so that nothing can lean on them.
MAKE_SOURCE = rf"""
mkdir -p /home/git /var/run/postgresql
gitlab-ctl stop puma; gitlab-ctl stop sidekiq; gitlab-ctl stop gitaly
usermod -d /home/git -s /bin/bash git
cp -r {RAILS_ROOT} /home/git/gitlab
cp --remove-destination /var/opt/gitlab/gitlab-rails/etc/database.yml /home/git/gitlab/config/database.yml
for gem in rake activerecord pg oj rainbow redis flipper flipper-active_record state_machines-activerecord rack puma; do
  echo "gem '$gem'"
done > /home/git/gitlab/Gemfile
chown -R git:git /home/git
ln -s /home/git/gitlab/bin/rails /usr/local/bin/rails
ln -s /var/opt/gitlab/postgresql/.s.PGSQL.5432 /var/run/postgresql/.s.PGSQL.5432
gitlab-psql -X -q -c 'CREATE ROLE git LOGIN SUPERUSER'
mv /opt/gitlab/bin/gitlab-rake /opt/gitlab/bin/gitlab-rails /opt/gitlab/bin/gitlab-psql /root/
"""


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("source") as instances:
        instances.up({HOST: "gitlab-14.2.7"})
        instances.sh(HOST, MAKE_SOURCE)
        yield instances


def psql(fleet: Instances, statement: str) -> str:
    return fleet.sh(
        HOST, f"sudo -u git -H psql -XAtq -v ON_ERROR_STOP=1 -d gitlabhq_production <<'SQL'\n{statement}\nSQL"
    )


def test_status_finalize_and_migrate(fleet: Instances) -> None:
    psql(
        fleet,
        """
        SET session_replication_role = replica;
        INSERT INTO ci_stages (project_id, pipeline_id, name) SELECT 1, n, 'test' FROM generate_series(1, 2000) n;
        INSERT INTO batched_background_migrations (created_at, updated_at, min_value, max_value, batch_size, sub_batch_size,
          interval, status, job_class_name, table_name, column_name, job_arguments)
        SELECT now(), now(), min(id), max(id), 1000, 500, 120, 1, 'CopyColumnUsingBackgroundMigrationJob', 'ci_stages', 'id',
          '[["id"], ["id_convert_to_bigint"]]' FROM ci_stages;
        DELETE FROM schema_migrations WHERE version = '20210707210916';
        """,
    )
    status = fleet.run(HOST, "bbm_status", install_type="source")
    assert (status["unfinished"], status["safe_to_upgrade"]) == (["main_1"], False)
    assert status["databases"][0]["schema_migrations_down"] == ["20210707210916"]

    finalized = fleet.run(HOST, "bbm_finalize", install_type="source", **BACKGROUND_MIGRATION)
    assert not finalized["failed"], finalized["msg"]
    assert finalized["commands"][0][:6] == ["sudo", "-u", "git", "-H", "bundle", "exec"]
    assert psql(fleet, "SELECT status FROM batched_background_migrations") == "3"
    assert psql(fleet, "SELECT count(*) FROM ci_stages WHERE id <> id_convert_to_bigint") == "0"

    migrated = fleet.run(HOST, "db_migrate", install_type="source")
    assert [one["version"] for one in migrated["applied"]] == ["20210707210916"]
    assert fleet.run(HOST, "bbm_status", install_type="source")["safe_to_upgrade"] is True


@pytest.mark.parametrize("source", ["sql", "rake"])
def test_schema_migrations_are_read(fleet: Instances, source: str) -> None:
    result = fleet.run(HOST, "db_migrate_status", install_type="source", source=source)
    assert result["all_up"] is True
    assert len(result["migrations"]) == int(psql(fleet, "SELECT count(*) FROM schema_migrations"))


def test_a_migration_is_marked_complete(fleet: Instances) -> None:
    psql(fleet, "DELETE FROM schema_migrations WHERE version = '20151103134857'")
    options = {"install_type": "source", "version": "20151103134857", "reason": "its table is there"}
    first, again = fleet.run_each(HOST, "mark_migration_complete", [options, options])
    assert (first["changed"], again["changed"]) == (True, False)
    assert psql(fleet, "SELECT count(*) FROM schema_migrations WHERE version = '20151103134857'") == "1"


@pytest.mark.parametrize(
    ("module", "options"), [("gitlab_reconfigure", {}), ("gitlab_services", {"name": ["puma"], "state": "started"})]
)
def test_what_only_the_linux_package_has_is_refused(fleet: Instances, module: str, options: dict[str, t.Any]) -> None:
    result = fleet.run(HOST, module, install_type="source", **options)
    assert result["failed"] is True
    assert "self-compiled" in result["msg"]
