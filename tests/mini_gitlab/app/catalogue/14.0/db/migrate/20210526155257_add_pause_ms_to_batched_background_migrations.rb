# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

# A float pause_seconds that GitLab had for a short time before is left out.
class AddPauseMsToBatchedBackgroundMigrations < ActiveRecord::Migration[6.1]
  def change
    add_column :batched_background_migrations, :pause_ms, :integer, null: false, default: 100
    add_column :batched_background_migration_jobs, :pause_ms, :integer, null: false, default: 100
  end
end
