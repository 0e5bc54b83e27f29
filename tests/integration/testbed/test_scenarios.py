# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instances in trouble are in the trouble that they are made for, and GitLab's own remedies help (root)."""

from __future__ import annotations

SIX = [
    ("push_event_payloads", "event_id", '[["event_id"]\\, ["event_id_convert_to_bigint"]]'),
    ("ci_stages", "id", '[["id"]\\, ["id_convert_to_bigint"]]'),
    ("ci_builds_metadata", "id", '[["id"]\\, ["id_convert_to_bigint"]]'),
    ("ci_builds_metadata", "id", '[["build_id"]\\, ["build_id_convert_to_bigint"]]'),
    ("deployments", "id", '[["deployable_id"]\\, ["deployable_id_convert_to_bigint"]]'),
    ("taggings", "id", '[["id"\\, "taggable_id"]\\, ["id_convert_to_bigint"\\, "taggable_id_convert_to_bigint"]]'),
]

RETRY = """
background = Gitlab::Database::BackgroundMigration
connection = Gitlab::Database.database_base_models["ci"].connection
Gitlab::Database::SharedModel.using_connection(connection) do
  migration = background::BatchedMigration.find_by!(job_class_name: "BackfillPartitionIdCiPipelineMessage")
  migration.retry_failed_jobs!
  background::BatchedMigrationRunner.new(connection: connection).run_entire_migration(migration)
end
"""


def pending(host):
    return host("gitlab-rake db:migrate:status | awk '$1 == \"down\" { print $2 }'").split()


def configure(host):
    done = host.run("dpkg --configure -a 2>&1")
    assert done.returncode == 0, done.stdout
    assert host.installed()[0] == "ii"


def test_stuck_copy_column_is_finished_by_finalizing_six(start):
    host = start("stuck-copy-column")
    host("gitlab-ctl stop sidekiq")
    assert host.installed() == ("iF", "14.2.7-ee.0")
    assert int(host.sql("SELECT count(*) FROM push_event_payloads")) >= 200_000
    unfinished = "SELECT count(*) FROM batched_background_migrations WHERE status <> 3"
    assert host.sql(unfinished) == "6"
    wrong = "SELECT count(*) FROM taggings WHERE taggable_id <> taggable_id_convert_to_bigint"
    assert int(host.sql(wrong)) > 20_000, "the rows really have to be copied"

    for table, column, arguments in SIX:
        task = (
            f"gitlab:background_migrations:finalize[CopyColumnUsingBackgroundMigrationJob,{table},{column},{arguments}]"
        )
        assert "Done." in host(f"gitlab-rake '{task}'")
    assert host.sql(unfinished) == "0"
    assert host.sql(wrong) == "0"
    configure(host)
    assert pending(host) == []


def test_stuck_duplicate_table_is_passed_by_marking_two_versions(start):
    host = start("stuck-duplicate-table")
    assert host.installed() == ("iF", "14.3.6-ee.0")
    assert int(host.sql("SELECT count(*) FROM projects")) == 1000
    for version, table in (
        ("20210617022324", "incident_management_pending_alert_escalations"),
        ("20210709024048", "postgres_async_indexes"),
    ):
        failed = host.run("gitlab-rake db:migrate")
        assert failed.returncode == 1
        assert f'PG::DuplicateTable: ERROR:  relation "{table}" already exists' in failed.stderr
        assert version in pending(host)
        host(f"gitlab-rake 'gitlab:db:mark_migration_complete[{version}]'")
    host("gitlab-rake db:migrate")
    assert pending(host) == []
    configure(host)


def test_stuck_ci_failed_works_once_it_is_retried(start):
    host = start("stuck-ci-failed")
    ci = "gitlabhq_production_ci"
    state = (
        "SELECT status FROM batched_background_migrations WHERE job_class_name = 'BackfillPartitionIdCiPipelineMessage'"
    )
    assert host.installed() == ("ii", "17.11.7-ee.0")
    assert host.sql(state, ci) == "4"
    assert (
        int(host.sql("SELECT count(*) FROM batched_background_migration_jobs WHERE status = 2 AND attempts >= 3", ci))
        == 2
    )
    assert "20250210160129" in host("gitlab-rake db:migrate:status:ci | grep ' down '")
    errors = (
        "SELECT DISTINCT exception_class FROM batched_background_migration_job_transition_logs WHERE next_status = 2"
    )
    assert host.sql(errors, ci) == "ActiveRecord::StatementInvalid"

    configuration = "BackfillPartitionIdCiPipelineMessage,ci_pipeline_messages,id,[]"
    assert "Done." in host(f"gitlab-rake 'gitlab:background_migrations:finalize:ci[{configuration}]'")
    assert host.sql(state, ci) == "4", "GitLab's own task looks into main, finds nothing, and says Done."
    host(f"gitlab-rails runner '{RETRY}'")
    assert host.sql(state, ci) == "3"
    assert host.sql("SELECT count(*) FROM ci_pipeline_messages WHERE partition_id IS NULL", ci) == "0"
    host("gitlab-rake db:migrate")
    assert host.sql(state, ci) == "6"
    assert host("gitlab-rake db:migrate:status:ci | grep -c ' down '; true") == "0"


def test_failed_upgrade_is_rolled_back_by_hand(start):
    host = start("after-failed-upgrade")
    assert host.installed() == ("iF", "14.2.7-ee.0")
    assert host.sql("SELECT count(*) FROM projects") == "6", "one was made after the backup"
    whole, automatic = sorted(host("ls /var/opt/gitlab/backups").split())
    assert "uploads.tar.gz" in host(f"tar -tf /var/opt/gitlab/backups/{whole}")
    assert "uploads.tar.gz" not in host(f"tar -tf /var/opt/gitlab/backups/{automatic}")

    host("gitlab-ctl stop puma; gitlab-ctl stop sidekiq; dpkg -r gitlab-ee")
    back = host.install("14.0.12")
    assert back.returncode == 0, back.stdout
    assert "gitlab preinstall" not in back.stdout
    host(f"gitlab-backup restore force=yes BACKUP={whole.removesuffix('_gitlab_backup.tar')}")
    assert host.installed() == ("ii", "14.0.12-ee.0")
    held = host("gitlab-rake mini_gitlab:data_digest").splitlines()
    assert [line.split()[1] for line in held if line.startswith(("builds", "repositories", "uploads"))] == ["5"] * 3
    assert pending(host) == []
    assert host.sql("SELECT max(version) FROM schema_migrations") == "20210601080039"
    assert host.sql("SELECT count(*) FROM batched_background_migrations WHERE status = 1") == "3"
    host("gitlab-ctl start")
    host.await_readiness()
