# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # Takes a migration one job further, or to its end.
      class BatchedMigrationRunner
        FailedToFinalize = Class.new(RuntimeError)

        if MiniGitlab.since?(:several_connections)
          def self.finalize(job_class_name, table_name, column_name, job_arguments, connection: ApplicationRecord.connection)
            new(connection: connection).finalize(job_class_name, table_name, column_name, job_arguments)
          end
        elsif MiniGitlab.since?(:finalize_task)
          def self.finalize(job_class_name, table_name, column_name, job_arguments)
            new(connection: ApplicationRecord.connection).finalize(job_class_name, table_name, column_name, job_arguments)
          end
        end

        def initialize(connection:, migration_wrapper: BatchedMigrationWrapper.new(connection: connection))
          @connection = connection
          @migration_wrapper = migration_wrapper
        end

        def run_migration_job(migration)
          job = find_or_create_next_job(migration)
          return finish(migration) unless job

          @migration_wrapper.perform(job)
          migration.optimize!
          migration.become!(:failed) if job.failed? && migration.should_stop?
        end

        # For development and tests: works until nothing is left.
        def run_entire_migration(migration)
          run_while(migration, 'active')
        end

        def finalize(job_class_name, table_name, column_name, job_arguments)
          migration = find(job_class_name, table_name, column_name, job_arguments)
          configuration = {
            job_class_name: job_class_name, table_name: table_name, column_name: column_name, job_arguments: job_arguments
          }
          return warn("Could not find batched background migration for the given configuration: #{configuration}") unless migration
          if migration.status_word == 'finished'
            return warn("Batched background migration for the given configuration is already finished: #{configuration}")
          end

          work_to_the_end(migration)
        end

        private

        attr_reader :connection

        def find(*configuration)
          configuration.unshift(Gitlab::Database.gitlab_schemas_for_connection(connection)) if MiniGitlab.since?(:gitlab_schema)
          BatchedMigration.find_for_configuration(*configuration)
        end

        def warn(text)
          Gitlab::AppLogger.warn(text)
        end

        def work_to_the_end(migration)
          migration.reset_attempts_of_blocked_jobs! if MiniGitlab.since?(:finalize_resets_attempts)
          migration.become!(:finalizing)
          migration.batched_jobs.where(status: JobStates::VALUES[:pending]).each { |job| @migration_wrapper.perform(job) }
          run_while(migration, 'finalizing')
          raise FailedToFinalize, *failure_text(migration) unless migration.status_word == 'finished'
        end

        def failure_text(migration)
          return [] unless MiniGitlab.since?(:failed_to_finalize_text)

          ["Batched migration #{migration.job_class_name} could not be completed and a manual action is required." \
           'Check the admin panel at (`/admin/background_migrations`) for more details.']
        end

        # No sleep: while another process runs the last job, GitLab spins, too.
        def run_while(migration, status)
          while migration.status_word == status
            run_migration_job(migration)
            migration.reload_last_job
          end
        end

        def find_or_create_next_job(migration)
          range = next_range(migration)
          range ? migration.create_batched_job!(*range) : migration.batched_jobs.retriable.order(:id).first
        end

        def next_range(migration)
          lower = migration.next_min_value
          return if lower > migration.max_value

          range = strategy(migration).next_batch(
            migration.table_name, migration.column_name,
            batch_min_value: lower, batch_size: migration.batch_size, job_arguments: migration.job_arguments, job_class: migration.job_class
          )
          return if range.nil? || range.first > migration.max_value

          [range.first, [range.last, migration.max_value].min]
        end

        def strategy(migration)
          migration.batch_class.new(connection: connection)
        end

        def finish(migration)
          return if migration.batched_jobs.active.exists?

          migration.become!(migration.batched_jobs.with_status_failed.exists? ? :failed : :finished)
        end
      end
    end
  end
end
