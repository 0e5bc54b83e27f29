# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    module ProjectNamespaces
      class BackfillProjectNamespaces < BatchedMigrationJob
        job_arguments :root_namespace_id, :direction
        operation_name :update_all

        def perform
          each_sub_batch do |sub_batch|
            ids = sub_batch.where(project_namespace_id: nil).pluck(:id)
            ids.each { |id| create_namespace(id) }
            ids.size
          end
        end

        private

        def create_namespace(project_id)
          connection.execute(<<~SQL)
            WITH created AS (
              INSERT INTO namespaces (name, path, type, parent_id)
              SELECT name, path, 'Project', namespace_id FROM projects WHERE id = #{Integer(project_id)} RETURNING id
            )
            UPDATE projects SET project_namespace_id = created.id FROM created WHERE projects.id = #{Integer(project_id)}
          SQL
        end
      end
    end
  end
end
