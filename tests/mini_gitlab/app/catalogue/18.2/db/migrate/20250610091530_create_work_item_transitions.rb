# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateWorkItemTransitions < Gitlab::Database::Migration[2.3]
  def change
    create_table(:work_item_transitions, primary_key: :work_item_id) { |t| t.bigint :namespace_id; t.bigint :moved_to_id }
  end
end
