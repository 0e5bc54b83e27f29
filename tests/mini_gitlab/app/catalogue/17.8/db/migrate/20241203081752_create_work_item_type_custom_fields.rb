# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateWorkItemTypeCustomFields < Gitlab::Database::Migration[2.2]
  def change
    create_table(:work_item_type_custom_fields) { |t| t.bigint :namespace_id, :work_item_type_id, :custom_field_id, null: false; t.timestamps null: false }
  end
end
