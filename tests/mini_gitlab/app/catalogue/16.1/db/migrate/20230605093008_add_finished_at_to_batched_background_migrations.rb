# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddFinishedAtToBatchedBackgroundMigrations < Gitlab::Database::Migration[2.1]
  def change
    add_column :batched_background_migrations, :finished_at, :timestamptz
  end
end
