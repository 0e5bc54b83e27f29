# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillEventsIdForBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    backfill_conversion_of_integer_to_bigint :events, :id
  end

  def down
    delete_batched_background_migration(
      'CopyColumnUsingBackgroundMigrationJob', 'events', 'id', [%w[id], %w[id_convert_to_bigint]]
    )
  end
end
