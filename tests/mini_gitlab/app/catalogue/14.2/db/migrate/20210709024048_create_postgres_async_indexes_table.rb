# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreatePostgresAsyncIndexesTable < ActiveRecord::Migration[6.1]
  def change
    create_table :postgres_async_indexes do |t|
      t.timestamps null: false
      t.text :name, null: false, index: { unique: true }
      t.text :definition, :table_name, null: false
    end
  end
end
