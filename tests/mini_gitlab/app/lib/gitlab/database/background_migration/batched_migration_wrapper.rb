# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # Runs one job and keeps its row up to date.
      class BatchedMigrationWrapper
        def initialize(connection:)
          @connection = connection
        end

        def perform(job)
          job.run!
          execute(job)
          job.succeed!
        rescue Exception => error # rubocop:disable Lint/RescueException -- signals leave a failed job, too
          job.failure!(error: error)
          raise error.is_a?(SubBatchTimeoutError) ? error.cause : error
        end

        private

        def execute(job)
          instance = job_instance(job)
          instance.perform
          job.metrics = instance.batch_metrics.to_h
        end

        def job_instance(job)
          job.migration_job_class.new(
            start_id: job.min_value, end_id: job.max_value,
            batch_table: job.migration_table_name, batch_column: job.migration_column_name,
            sub_batch_size: job.sub_batch_size, pause_ms: [job.try(:pause_ms).to_i, BatchedJob::MINIMUM_PAUSE_MS].max,
            job_arguments: job.migration_job_arguments, connection: @connection
          )
        end
      end
    end
  end
end
