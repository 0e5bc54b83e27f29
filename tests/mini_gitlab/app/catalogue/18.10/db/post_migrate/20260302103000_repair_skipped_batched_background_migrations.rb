# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

# What 18.5 to 18.9 marked finished without a job is paused, for the next migration to execute.
class RepairSkippedBatchedBackgroundMigrations < Gitlab::Database::Migration[2.3]
  STAMPS = %w[20250905091200 20260216140430].freeze
  DONE = [3, 6].freeze

  def up
    rows = Gitlab::Database::BackgroundMigration::BatchedMigration
    rows.where(status: DONE, queued_migration_version: STAMPS.first..STAMPS.last).where.missing(:batched_jobs)
      .update_all(status: 0, finished_at: nil)
  end

  def down; end
end
