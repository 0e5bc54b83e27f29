# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillNamespacesState < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch { |sub_batch| sub_batch.update_all(state: 0) }
      end
    end
  end
end
