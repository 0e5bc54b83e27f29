# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      class BatchedMigration < SharedModel
        JOB_CLASS_MODULE = 'Gitlab::BackgroundMigration'
        BATCH_CLASS_MODULE = "#{JOB_CLASS_MODULE}::BatchingStrategies"
        MAXIMUM_FAILED_RATIO = 0.5
        MINIMUM_JOBS = 50
        HOLD = 10.minutes
        RETRY_SLICE = 100

        self.table_name = :batched_background_migrations

        has_many :batched_jobs, foreign_key: :batched_background_migration_id, inverse_of: :batched_migration
        has_one :last_job, -> { order(max_value: :desc) },
          class_name: 'Gitlab::Database::BackgroundMigration::BatchedJob', foreign_key: :batched_background_migration_id

        include MigrationStates
        include NewerMethods if MiniGitlab.since?(:newer_model)

        validates :batch_size, numericality: { greater_than_or_equal_to: :sub_batch_size }
        validate :finished_needs_succeeded_jobs, if: -> { MiniGitlab.since?(:restricted_transitions) }

        scope :queue_order, -> { order(id: :asc) }
        scope :queued, -> { where(status: [MigrationStates::VALUES[:active], MigrationStates::VALUES[:paused]]) }
        scope :created_after, ->(time) { where('created_at > ?', time) }
        scope :for_gitlab_schema, ->(schemas) { where(gitlab_schema: schemas) }
        scope :executable, -> { where(status: MigrationStates::VALUES[:active]).merge(not_on_hold) }
        scope :not_on_hold, -> { column_names.include?('on_hold_until') ? where('on_hold_until IS NULL OR on_hold_until < NOW()') : all }

        class << self
          # From 15.0 the schemas of the database come first.
          def for_configuration(*configuration)
            schemas = configuration.shift if MiniGitlab.since?(:gitlab_schema)
            job_class_name, table_name, column_name, job_arguments = configuration
            found = where(job_class_name: job_class_name, table_name: table_name, column_name: column_name)
              .where('job_arguments = ?', job_arguments.to_json)
            schemas && gitlab_schema_column? ? found.for_gitlab_schema(schemas) : found
          end

          # include_compatible: GitLab's looser search for jobs whose interface
          # changed; nothing in the test bed has such.
          def find_for_configuration(*configuration, include_compatible: false) # rubocop:disable Lint/UnusedMethodArgument
            for_configuration(*configuration).first
          end

          # What is due in a database, oldest first; newer versions have finer questions.
          def executable_in(connection)
            for_connection(connection).executable.queue_order
          end

          unless MiniGitlab.since?(:newer_model)
            def active_migration(connection:)
              executable_in(connection).first
            end
          end

          private

          # Migrations older than the column run under newer code, too.
          def gitlab_schema_column?
            column_names.include?('gitlab_schema')
          end

          def for_connection(connection)
            return all unless MiniGitlab.since?(:gitlab_schema) && gitlab_schema_column?

            for_gitlab_schema(Gitlab::Database.gitlab_schemas_for_connection(connection))
          end
        end

        def job_class
          "#{JOB_CLASS_MODULE}::#{job_class_name}".constantize
        end

        def batch_class
          "#{BATCH_CLASS_MODULE}::#{batch_class_name.demodulize}".constantize
        end

        def next_min_value
          cursor? if MiniGitlab.since?(:newer_model)
          last_job ? last_job.max_value + 1 : min_value
        end

        def interval_elapsed?(variance: 0)
          return true unless last_job

          last_job.created_at <= Time.current - (interval - variance)
        end

        def hold!(until_time: HOLD.from_now)
          duration = until_time - Time.current
          Gitlab::AppLogger.info(message: "#{self.class} put on hold", migration_id: id, duration_s: duration.to_i)
          update!(on_hold_until: until_time)
        end

        def create_batched_job!(min, max)
          pause = has_attribute?(:pause_ms) ? { pause_ms: pause_ms } : {}
          batched_jobs.create!(min_value: min, max_value: max, batch_size: batch_size, sub_batch_size: sub_batch_size, **pause)
        end

        # Splits each failed job and sets the migration to work again.
        if MiniGitlab.since?(:retry_failed_jobs)
          def retry_failed_jobs!
            batched_jobs.with_status_failed.each_batch(of: RETRY_SLICE) do |slice|
              self.class.transaction do
                slice.lock.each(&:split_and_retry!)
                become!(:active)
              end
            end
            become!(:active)
          end
        end

        def should_stop?
          jobs = started_at ? batched_jobs.created_since(started_at) : batched_jobs
          total = jobs.count
          total >= MINIMUM_JOBS && jobs.with_status_failed.count.fdiv(total) > MAXIMUM_FAILED_RATIO
        end

        def migrated_tuple_count
          batched_jobs.where(status: JobStates::VALUES[:succeeded]).sum(:batch_size)
        end

        def optimize!
          BatchOptimizer.new(self).optimize!
        end

        # Share of the interval that the last jobs took, newest first and most.
        def smoothed_time_efficiency(number_of_jobs: 10, alpha: 0.2)
          jobs = batched_jobs.successful_in_execution_order.reverse_order.limit(number_of_jobs).to_a
          return if jobs.size < number_of_jobs

          efficiencies = jobs.map(&:time_efficiency).compact
          return if efficiencies.empty?

          weights = efficiencies.each_index.map { |index| (1 - alpha)**index }
          (efficiencies.zip(weights).sum { |value, weight| value * weight } / weights.sum).round(2)
        end

        private

        def finished_needs_succeeded_jobs
          return unless status_changed? && status == MigrationStates::VALUES[:finished]

          errors.add(:batched_jobs, 'jobs need to be succeeded') if batched_jobs.except_succeeded.exists?
        end
      end
    end
  end
end
