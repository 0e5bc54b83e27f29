# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class ExecuteSkippedBatchedBackgroundMigrations < Gitlab::Database::Migration[2.3]
  disable_ddl_transaction!

  STAMPS = %w[20250905091200 20260216140430].freeze

  def up
    engine = Gitlab::Database::BackgroundMigration
    engine::BatchedMigration.where(status: 0, queued_migration_version: STAMPS.first..STAMPS.last).queue_order.each do |row|
      engine::BatchedMigrationRunner.finalize(
        row.job_class_name, row.table_name, row.column_name, row.job_arguments, connection: connection
      )
    end
  end

  def down; end
end
