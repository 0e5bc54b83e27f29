# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateNamespaceDetails < Gitlab::Database::Migration[2.0]
  def change
    create_table(:namespace_details, primary_key: :namespace_id) { |t| t.text :description; t.timestamps null: true }
  end
end
