# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillPushEventPayloadsForBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    backfill_conversion_of_integer_to_bigint :push_event_payloads, :event_id, primary_key: :event_id
  end

  def down
    delete_batched_background_migration(
      'CopyColumnUsingBackgroundMigrationJob', 'push_event_payloads', 'event_id', [%w[event_id], %w[event_id_convert_to_bigint]]
    )
  end
end
