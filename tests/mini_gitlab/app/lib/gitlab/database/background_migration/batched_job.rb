# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      class BatchedJob < SharedModel
        include EachBatch

        MAX_ATTEMPTS = 3
        STUCK_JOBS_TIMEOUT = 1.hour.freeze
        MINIMUM_PAUSE_MS = 100
        SUB_BATCH_SIZE_REDUCE_FACTOR = 0.75
        SUB_BATCH_SIZE_THRESHOLD = 65
        MAX_SIDEKIQ_SHUTDOWN_FAILURES = 15
        TIMEOUTS = [ActiveRecord::StatementTimeout, ActiveRecord::ConnectionTimeoutError, ActiveRecord::AdapterTimeout,
          ActiveRecord::LockWaitTimeout, ActiveRecord::QueryCanceled, SubBatchTimeoutError].freeze

        self.table_name = :batched_background_migration_jobs

        belongs_to :batched_migration, foreign_key: :batched_background_migration_id, inverse_of: :batched_jobs
        has_many :batched_job_transition_logs, foreign_key: :batched_background_migration_job_id

        include JobStates

        scope :active, -> { where(status: JobStates::VALUES.values_at(:pending, :running)) }
        scope :stuck, -> { active.where('updated_at <= ?', STUCK_JOBS_TIMEOUT.ago) }
        scope :with_status_failed, -> { where(status: JobStates::VALUES[:failed]) }
        scope :retriable, -> { from("(#{with_status_failed.where('attempts < ?', MAX_ATTEMPTS).to_sql} UNION #{stuck.to_sql}) AS #{table_name}") }
        scope :except_succeeded, -> { where.not(status: JobStates::VALUES[:succeeded]) }
        scope :blocked_by_max_attempts, -> { with_status_failed.where('attempts >= ?', MAX_ATTEMPTS) }
        scope :created_since, ->(time) { where('created_at >= ?', time) }
        scope :successful_in_execution_order, -> { where.not(finished_at: nil).where(status: JobStates::VALUES[:succeeded]).order(:finished_at) }

        delegate :job_class, :table_name, :column_name, :job_arguments, to: :batched_migration, prefix: :migration

        # @return [Float, nil] share of the migration's interval
        def time_efficiency
          return unless status_before_type_cast.to_i == JobStates::VALUES[:succeeded] || try(:succeeded?)
          return unless started_at && finished_at

          (finished_at - started_at) / batched_migration.interval
        end

        # Two jobs of half the batch each; one that is too small just starts over.
        def split_and_retry!
          with_lock do
            raise 'Only failed jobs can be split' unless failed?

            half = batch_size / 2
            middle = half >= 1 && first_half_end(half)
            middle && middle < max_value ? split_at(middle, half) : update!(attempts: 0)
          end
        end

        # Timeouts shrink the work; everything else does not get better by it.
        def can_split?(exception)
          attempts >= MAX_ATTEMPTS && TIMEOUTS.any? { |type| exception.is_a?(type) } && batch_size > sub_batch_size && batch_size > 1
        end

        def react_to_failure(exception)
          reduce_sub_batch_size! if exception.is_a?(SubBatchTimeoutError)
          split_and_retry! if can_split?(exception)
        end

        private

        def reduce_sub_batch_size!
          smaller = [(sub_batch_size * SUB_BATCH_SIZE_REDUCE_FACTOR).to_i, 1].max
          lowest = batched_migration.sub_batch_size * (100 - SUB_BATCH_SIZE_THRESHOLD) / 100
          update!(sub_batch_size: smaller) if smaller >= lowest
        end

        def first_half_end(half)
          range = batched_migration.batch_class.new(connection: self.class.connection).next_batch(
            migration_table_name, migration_column_name,
            batch_min_value: min_value, batch_size: half, job_arguments: migration_job_arguments, job_class: migration_job_class
          )
          range&.last
        end

        def split_at(middle, half)
          last = max_value
          update!(batch_size: half, max_value: middle, attempts: 0, started_at: nil, finished_at: nil, metrics: {})
          dup.update!(min_value: middle + 1, max_value: last)
        end
      end
    end
  end
end
