# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddQueuedMigrationVersionToBatchedBackgroundMigrations < Gitlab::Database::Migration[2.1]
  def change
    add_column :batched_background_migrations, :queued_migration_version, :text
    add_check_constraint :batched_background_migrations, 'char_length(queued_migration_version) <= 14', name: 'check_713f147aea'
    add_index :batched_background_migrations, :queued_migration_version, unique: true,
      name: 'unique_batched_background_migrations_queued_migration_version'
  end
end
