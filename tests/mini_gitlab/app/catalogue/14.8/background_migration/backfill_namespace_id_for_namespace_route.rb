# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillNamespaceIdForNamespaceRoute < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch { |sub_batch| sub_batch.where(source_type: 'Namespace').update_all('namespace_id = source_id') }
      end
    end
  end
end
