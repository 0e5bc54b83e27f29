# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateBatchedBackgroundMigrationTables < ActiveRecord::Migration[6.1]
  def up
    execute(<<~SQL)
      CREATE TABLE batched_background_migrations (
        id bigserial PRIMARY KEY,
        created_at timestamp with time zone NOT NULL,
        updated_at timestamp with time zone NOT NULL,
        min_value bigint DEFAULT 1 NOT NULL,
        max_value bigint NOT NULL,
        batch_size integer NOT NULL,
        sub_batch_size integer NOT NULL,
        "interval" smallint NOT NULL,
        status smallint DEFAULT 0 NOT NULL,
        job_class_name text NOT NULL,
        batch_class_name text DEFAULT 'PrimaryKeyBatchingStrategy' NOT NULL,
        table_name text NOT NULL,
        column_name text NOT NULL,
        job_arguments jsonb DEFAULT '"[]"' NOT NULL,
        total_tuple_count bigint,
        CONSTRAINT check_5bb0382d6f CHECK (char_length(column_name) <= 63),
        CONSTRAINT check_6b6a06254a CHECK (char_length(table_name) <= 63),
        CONSTRAINT check_batch_size_in_range CHECK (batch_size >= sub_batch_size),
        CONSTRAINT check_e6c75b1e29 CHECK (char_length(job_class_name) <= 100),
        CONSTRAINT check_fe10674721 CHECK (char_length(batch_class_name) <= 100),
        CONSTRAINT check_max_value_in_range CHECK (max_value >= min_value),
        CONSTRAINT check_positive_min_value CHECK (min_value > 0),
        CONSTRAINT check_positive_sub_batch_size CHECK (sub_batch_size > 0)
      );
      CREATE INDEX index_batched_background_migrations_on_status ON batched_background_migrations (status);
      CREATE UNIQUE INDEX index_batched_background_migrations_on_unique_configuration
        ON batched_background_migrations (job_class_name, table_name, column_name, job_arguments);
      CREATE TABLE batched_background_migration_jobs (
        id bigserial PRIMARY KEY,
        created_at timestamp with time zone NOT NULL,
        updated_at timestamp with time zone NOT NULL,
        started_at timestamp with time zone,
        finished_at timestamp with time zone,
        batched_background_migration_id bigint NOT NULL REFERENCES batched_background_migrations (id) ON DELETE CASCADE,
        min_value bigint NOT NULL,
        max_value bigint NOT NULL,
        batch_size integer NOT NULL,
        sub_batch_size integer NOT NULL,
        status smallint DEFAULT 0 NOT NULL,
        attempts smallint DEFAULT 0 NOT NULL,
        metrics jsonb DEFAULT '{}' NOT NULL
      );
      CREATE INDEX index_batched_jobs_by_batched_migration_id_and_id ON batched_background_migration_jobs (batched_background_migration_id, id);
      CREATE INDEX index_batched_jobs_on_batched_migration_id_and_status ON batched_background_migration_jobs (batched_background_migration_id, status);
      CREATE INDEX index_migration_jobs_on_migration_id_and_finished_at ON batched_background_migration_jobs (batched_background_migration_id, finished_at);
      CREATE INDEX index_migration_jobs_on_migration_id_and_max_value ON batched_background_migration_jobs (batched_background_migration_id, max_value);
    SQL
  end

  def down
    drop_table :batched_background_migration_jobs
    drop_table :batched_background_migrations
  end
end
