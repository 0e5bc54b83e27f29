# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddPartitionIdToCiPipelineTables < Gitlab::Database::Migration[2.2]
  def change
    add_column :ci_pipeline_messages, :partition_id, :bigint
    add_column :ci_pipeline_chat_data, :partition_id, :bigint
  end
end
