# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateOrganizations < Gitlab::Database::Migration[2.2]
  def up
    create_table(:organizations) { |t| t.timestamps null: true; t.text :name, :path, null: false }
    add_column :users, :organization_id, :bigint
  end

  def down
    drop_table :organizations
  end
end
