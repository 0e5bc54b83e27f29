# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class: works once no row of its range has a missing value any more.
    class FailsWhileBroken < BatchedMigrationJob
      job_arguments :required_column
      operation_name :check_rows

      def perform
        each_sub_batch do |sub_batch|
          broken = sub_batch.where(required_column => nil).pick(batch_column)
          raise ArgumentError, "#{batch_table} #{batch_column}=#{broken}: #{required_column} is missing" if broken

          sub_batch.count
        end
      end
    end
  end
end
