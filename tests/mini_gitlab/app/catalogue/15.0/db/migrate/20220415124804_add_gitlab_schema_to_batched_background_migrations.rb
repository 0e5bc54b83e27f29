# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddGitlabSchemaToBatchedBackgroundMigrations < Gitlab::Database::Migration[2.0]
  def up
    add_column :batched_background_migrations, :gitlab_schema, :text, null: false, default: :gitlab_main
    change_column_default :batched_background_migrations, :gitlab_schema, from: :gitlab_main, to: nil
    add_check_constraint :batched_background_migrations, 'char_length(gitlab_schema) <= 255', name: 'check_0406d9776f'
    add_index :batched_background_migrations, %i[gitlab_schema job_class_name table_name column_name job_arguments],
      unique: true, name: 'index_batched_migrations_on_gl_schema_and_unique_configuration'
  end

  def down
    remove_column :batched_background_migrations, :gitlab_schema
  end
end
