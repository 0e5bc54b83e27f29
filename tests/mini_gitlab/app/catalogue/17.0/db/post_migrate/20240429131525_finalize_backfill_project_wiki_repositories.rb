# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class FinalizeBackfillProjectWikiRepositories < Gitlab::Database::Migration[2.2]
  disable_ddl_transaction!
  restrict_gitlab_migration gitlab_schema: :gitlab_main

  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'BackfillProjectWikiRepositories',
      table_name: :projects,
      column_name: :id,
      job_arguments: []
    )
  end

  def down; end
end
