# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class FinalizeEventsBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers
  disable_ddl_transaction!

  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'CopyColumnUsingBackgroundMigrationJob',
      table_name: 'events',
      column_name: 'id',
      job_arguments: [%w[id], %w[id_convert_to_bigint]]
    )

    swap_integer_to_bigint :events, :id
  end

  def down; end
end
