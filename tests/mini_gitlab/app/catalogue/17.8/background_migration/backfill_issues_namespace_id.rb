# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillIssuesNamespaceId < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch do |sub_batch|
          sub_batch.update_all('namespace_id = (SELECT namespace_id FROM projects WHERE projects.id = issues.project_id)')
        end
      end
    end
  end
end
