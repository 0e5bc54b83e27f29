# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillProjectWikiRepositories < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch do |sub_batch|
          connection.exec_update(<<~SQL)
            INSERT INTO project_wiki_repositories (project_id, created_at)
            SELECT id, now() FROM (#{sub_batch.select(:id).to_sql}) AS batch ON CONFLICT DO NOTHING
          SQL
        end
      end
    end
  end
end
