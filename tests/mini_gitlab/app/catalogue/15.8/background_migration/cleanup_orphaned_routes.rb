# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # No later migration checks that this one is finished, and its class goes:
    # an instance that skips ahead keeps a row that nothing can run.
    class CleanupOrphanedRoutes < BatchedMigrationJob
      operation_name :delete_all

      def perform
        each_sub_batch do |sub_batch|
          sub_batch.where(source_type: 'Namespace').where('NOT EXISTS (SELECT 1 FROM namespaces WHERE namespaces.id = routes.source_id)').delete_all
        end
      end
    end
  end
end
