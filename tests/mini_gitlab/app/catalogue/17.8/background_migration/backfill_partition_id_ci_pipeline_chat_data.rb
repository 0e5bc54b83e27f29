# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillPartitionIdCiPipelineChatData < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch { |sub_batch| sub_batch.where(partition_id: nil).update_all(partition_id: 100) }
      end
    end
  end
end
