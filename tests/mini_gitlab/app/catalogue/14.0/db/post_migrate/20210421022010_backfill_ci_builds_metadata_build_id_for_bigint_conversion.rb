# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillCiBuildsMetadataBuildIdForBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    backfill_conversion_of_integer_to_bigint :ci_builds_metadata, :build_id
  end

  def down
    delete_batched_background_migration(
      'CopyColumnUsingBackgroundMigrationJob', 'ci_builds_metadata', 'id', [%w[build_id], %w[build_id_convert_to_bigint]]
    )
  end
end
