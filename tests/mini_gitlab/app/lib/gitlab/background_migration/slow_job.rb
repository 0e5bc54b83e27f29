# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class: takes the given seconds for each sub-batch.
    class SlowJob < BatchedMigrationJob
      job_arguments :seconds
      operation_name :sleep

      def perform
        each_sub_batch do |sub_batch|
          sleep(seconds.to_f)
          sub_batch.count
        end
      end
    end
  end
end
