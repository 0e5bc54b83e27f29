# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillTaggingsForBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    backfill_conversion_of_integer_to_bigint :taggings, %i[id taggable_id]
  end

  def down
    delete_batched_background_migration(
      'CopyColumnUsingBackgroundMigrationJob', 'taggings', 'id', [%w[id taggable_id], %w[id_convert_to_bigint taggable_id_convert_to_bigint]]
    )
  end
end
