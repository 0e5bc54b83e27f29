# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class InitSchema < ActiveRecord::Migration[6.1]
  def up
    create_table(:namespaces) { |t| t.string :name, :path, :type; t.integer :owner_id, :parent_id; t.timestamps null: true }
    create_table :projects do |t|
      t.string :name, :path
      t.integer :namespace_id, :creator_id
      t.timestamps null: true
    end
    create_table(:users) { |t| t.string :username, :email, :linkedin; t.boolean :admin, default: false, null: false; t.timestamps null: true }
    create_table(:issues) { |t| t.integer :project_id, :iid; t.string :title; t.timestamps null: true }
    create_table(:routes) { |t| t.integer :source_id; t.string :source_type, :path }
    create_table :features do |t|
      t.string :key, null: false, index: { unique: true }
      t.timestamps null: false
    end
    create_table :feature_gates do |t|
      t.string :feature_key, :key, null: false
      t.string :value
      t.timestamps null: false
      t.index %i[feature_key key value], unique: true
    end
    create_table :application_settings do |t|
      t.boolean :maintenance_mode, default: false, null: false
      t.text :maintenance_mode_message
      t.string :uuid
      t.timestamps null: true
    end

  end

  def down
    raise ActiveRecord::IrreversibleMigration
  end
end
