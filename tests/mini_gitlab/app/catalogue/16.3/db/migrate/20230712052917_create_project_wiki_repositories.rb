# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateProjectWikiRepositories < Gitlab::Database::Migration[2.1]
  def change
    create_table(:project_wiki_repositories) { |t| t.bigint :project_id, null: false, index: { unique: true }; t.timestamps null: true }
  end
end
