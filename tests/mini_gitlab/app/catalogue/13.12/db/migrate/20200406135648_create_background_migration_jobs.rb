# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateBackgroundMigrationJobs < ActiveRecord::Migration[6.1]
  def change
    create_table :background_migration_jobs do |t|
      t.timestamps type: :timestamptz, null: false
      t.integer :status, limit: 2, null: false, default: 0
      t.text :class_name, null: false
      t.jsonb :arguments, null: false
      t.index %i[class_name arguments], name: 'index_background_migration_jobs_on_class_name_and_arguments'
      t.index %i[class_name status id], name: 'index_background_migration_jobs_on_class_name_and_status_and_id'
      t.check_constraint 'char_length(class_name) <= 200', name: 'check_b0de0a5852'
    end
  end
end
