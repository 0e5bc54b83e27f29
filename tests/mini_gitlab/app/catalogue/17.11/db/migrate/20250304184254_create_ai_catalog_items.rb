# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateAiCatalogItems < Gitlab::Database::Migration[2.2]
  def change
    create_table(:ai_catalog_items) { |t| t.bigint :project_id; t.timestamps null: false; t.text :name, :description }
  end
end
