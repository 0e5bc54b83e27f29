# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddCursorsToBatchedBackgroundMigrations < Gitlab::Database::Migration[2.2]
  def up
    connection.execute(<<~SQL)
      ALTER TABLE batched_background_migrations
        ALTER COLUMN min_value DROP NOT NULL, ALTER COLUMN max_value DROP NOT NULL,
        ADD COLUMN min_cursor jsonb, ADD COLUMN max_cursor jsonb,
        ADD CONSTRAINT check_122750e705 CHECK (jsonb_typeof(min_cursor) = 'array' AND jsonb_typeof(max_cursor) = 'array'),
        ADD CONSTRAINT check_f5158baa12 CHECK (num_nonnulls(min_value, max_value) = 2 OR num_nonnulls(min_cursor, max_cursor) = 2);
      ALTER TABLE batched_background_migration_jobs
        ALTER COLUMN min_value DROP NOT NULL, ALTER COLUMN max_value DROP NOT NULL,
        ADD COLUMN min_cursor jsonb, ADD COLUMN max_cursor jsonb,
        ADD CONSTRAINT check_18d498ea58 CHECK (jsonb_typeof(min_cursor) = 'array' AND jsonb_typeof(max_cursor) = 'array'),
        ADD CONSTRAINT check_c1ce96fe3b CHECK (num_nonnulls(min_value, max_value) = 2 OR num_nonnulls(min_cursor, max_cursor) = 2);
      ALTER TABLE batched_background_migrations ALTER COLUMN job_arguments SET DEFAULT '[]';
    SQL
  end

  def down; end
end
