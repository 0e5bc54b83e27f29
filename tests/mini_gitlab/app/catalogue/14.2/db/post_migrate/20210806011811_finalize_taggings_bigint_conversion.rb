# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class FinalizeTaggingsBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers
  disable_ddl_transaction!

  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'CopyColumnUsingBackgroundMigrationJob',
      table_name: 'taggings',
      column_name: 'id',
      job_arguments: [%w[id taggable_id], %w[id_convert_to_bigint taggable_id_convert_to_bigint]]
    )

    swap_integer_to_bigint :taggings, %i[id taggable_id]
  end

  def down; end
end
