# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddDatabaseMaxRunningBatchedBackgroundMigrations < Gitlab::Database::Migration[2.0]
  def change
    add_column :application_settings, :database_max_running_batched_background_migrations, :integer, null: false, default: 2
  end
end
