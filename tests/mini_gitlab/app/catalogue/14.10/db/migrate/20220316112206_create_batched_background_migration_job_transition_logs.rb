# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateBatchedBackgroundMigrationJobTransitionLogs < Gitlab::Database::Migration[1.0]
  def up
    connection.execute(<<~SQL)
      CREATE TABLE batched_background_migration_job_transition_logs (
        id bigserial NOT NULL,
        batched_background_migration_job_id bigint NOT NULL REFERENCES batched_background_migration_jobs (id) ON DELETE CASCADE,
        created_at timestamp with time zone NOT NULL,
        updated_at timestamp with time zone NOT NULL,
        previous_status smallint NOT NULL,
        next_status smallint NOT NULL,
        exception_class text,
        exception_message text,
        CONSTRAINT check_50e580811a CHECK (char_length(exception_message) <= 1000),
        CONSTRAINT check_76e202c37a CHECK (char_length(exception_class) <= 100),
        PRIMARY KEY (id, created_at)
      ) PARTITION BY RANGE (created_at);
      CREATE INDEX i_batched_background_migration_job_transition_logs_on_job_id
        ON batched_background_migration_job_transition_logs (batched_background_migration_job_id);
      CREATE SCHEMA IF NOT EXISTS gitlab_partitions_dynamic;
      CREATE TABLE gitlab_partitions_dynamic.batched_background_migration_job_transition_logs_000000
        PARTITION OF batched_background_migration_job_transition_logs DEFAULT;
    SQL
  end

  def down
    drop_table :batched_background_migration_job_transition_logs
  end
end
