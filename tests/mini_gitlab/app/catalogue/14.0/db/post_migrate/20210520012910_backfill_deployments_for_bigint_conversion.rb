# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillDeploymentsForBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    backfill_conversion_of_integer_to_bigint :deployments, :deployable_id
  end

  def down
    delete_batched_background_migration(
      'CopyColumnUsingBackgroundMigrationJob', 'deployments', 'id', [%w[deployable_id], %w[deployable_id_convert_to_bigint]]
    )
  end
end
