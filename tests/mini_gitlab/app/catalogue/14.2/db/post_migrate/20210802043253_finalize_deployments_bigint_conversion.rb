# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class FinalizeDeploymentsBigintConversion < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers
  disable_ddl_transaction!

  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'CopyColumnUsingBackgroundMigrationJob',
      table_name: 'deployments',
      column_name: 'id',
      job_arguments: [%w[deployable_id], %w[deployable_id_convert_to_bigint]]
    )

    swap_integer_to_bigint :deployments, :deployable_id
  end

  def down; end
end
