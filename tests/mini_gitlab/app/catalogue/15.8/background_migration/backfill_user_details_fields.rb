# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillUserDetailsFields < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch do |sub_batch|
          connection.exec_update(<<~SQL)
            INSERT INTO user_details (user_id, linkedin)
            SELECT id, linkedin FROM (#{sub_batch.select(:id, :linkedin).to_sql}) AS batch ON CONFLICT DO NOTHING
          SQL
        end
      end
    end
  end
end
