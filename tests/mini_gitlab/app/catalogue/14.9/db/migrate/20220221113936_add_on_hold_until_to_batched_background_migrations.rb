# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddOnHoldUntilToBatchedBackgroundMigrations < Gitlab::Database::Migration[1.0]
  def change
    add_column :batched_background_migrations, :on_hold_until, :timestamptz, comment: 'execution of this migration is on hold until this time'
  end
end
