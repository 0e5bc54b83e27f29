# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # What every job class is: a range of a table, worked on in sub-batches.
    class BatchedMigrationJob
      include Gitlab::Database::DynamicModelHelpers

      class << self
        # Names the job's arguments; each becomes a reader.
        def job_arguments(*names)
          names.each_with_index { |name, index| define_method(name) { @job_arguments[index] } }
          define_singleton_method(:job_arguments_count) { names.size }
        end

        def job_arguments_count
          0
        end

        def operation_name(name)
          define_method(:operation_name) { name }
        end

        def scope_to(scope)
          define_method(:filter_batch) { |relation| instance_exec(relation, &scope) }
        end

        def feature_category(_name); end
      end

      attr_reader :batch_metrics

      def initialize(start_id:, end_id:, batch_table:, batch_column:, sub_batch_size:, pause_ms:, connection:, job_arguments: [])
        @start_id = start_id
        @end_id = end_id
        @batch_table = batch_table
        @batch_column = batch_column
        @sub_batch_size = sub_batch_size
        @pause_ms = pause_ms
        @job_arguments = job_arguments
        @connection = connection
        @batch_metrics = Gitlab::Database::BackgroundMigration::BatchMetrics.new
      end

      def filter_batch(relation)
        relation
      end

      def perform
        raise NotImplementedError, "subclasses of #{self.class.name} must implement #{__method__}"
      end

      private

      attr_reader :start_id, :end_id, :batch_table, :batch_column, :sub_batch_size, :pause_ms, :connection

      # Yields each sub-batch; what the block returns is counted as its rows.
      def each_sub_batch
        batch = filter_batch(define_batchable_model(batch_table, connection: connection).where(batch_column => start_id..end_id))
        batch.each_batch(column: batch_column, of: sub_batch_size) do |sub_batch|
          run_sub_batch { yield sub_batch }
          sleep([pause_ms, 0].max * 0.001)
        end
      end

      # A timeout here is told from others: it makes the sub-batches smaller.
      def run_sub_batch(&block)
        batch_metrics.instrument_operation(operation_name, &block)
      rescue *Gitlab::Database::BackgroundMigration::BatchedJob::TIMEOUTS => error
        raise unless MiniGitlab.since?(:sub_batch_timeouts)

        raise Gitlab::Database::BackgroundMigration::SubBatchTimeoutError, error.message
      end
    end
  end
end
