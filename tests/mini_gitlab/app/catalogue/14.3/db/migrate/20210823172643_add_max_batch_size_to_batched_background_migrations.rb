# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddMaxBatchSizeToBatchedBackgroundMigrations < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def change
    add_column :batched_background_migrations, :max_batch_size, :integer
    add_column :batched_background_migrations, :started_at, :timestamptz
  end
end
