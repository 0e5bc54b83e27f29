# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class FinalizePushEventPayloadsBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers
  disable_ddl_transaction!

  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'CopyColumnUsingBackgroundMigrationJob',
      table_name: 'push_event_payloads',
      column_name: 'event_id',
      job_arguments: [%w[event_id], %w[event_id_convert_to_bigint]]
    )

    swap_integer_to_bigint :push_event_payloads, :event_id, primary_key: :event_id
  end

  def down; end
end
