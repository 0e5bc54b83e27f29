# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module MigrationHelpers
      # Puts batched background migrations into the queue.
      module BatchedBackgroundMigrations
        BATCH_SIZE = 1_000
        SUB_BATCH_SIZE = 100
        BATCH_MIN_VALUE = 1
        BATCH_CLASS_NAME = 'PrimaryKeyBatchingStrategy'
        MINIMUM_INTERVAL = 2.minutes.to_i

        def queue_batched_background_migration(
          job_class_name, batch_table_name, batch_column_name, *job_arguments,
          job_interval:, batch_min_value: BATCH_MIN_VALUE, batch_max_value: nil, batch_class_name: BATCH_CLASS_NAME,
          batch_size: BATCH_SIZE, max_batch_size: nil, sub_batch_size: SUB_BATCH_SIZE, gitlab_schema: nil
        )
          return if MiniGitlab.loading_schema?

          schema = gitlab_schema || restricted_schema
          configuration = [job_class_name, batch_table_name, batch_column_name, job_arguments]
          configuration.unshift([schema]) if MiniGitlab.since?(:gitlab_schema)
          if BackgroundMigration::BatchedMigration.for_configuration(*configuration).exists?
            return AppLogger.warn(
              "Batched background migration not enqueued because it already exists: job_class_name: #{job_class_name}, " \
              "table_name: #{batch_table_name}, column_name: #{batch_column_name}, job_arguments: #{job_arguments.inspect}"
            )
          end

          last = batch_max_value || last_value(batch_table_name, batch_column_name)
          migration = new_batched_migration(
            job_class_name: job_class_name, table_name: batch_table_name, column_name: batch_column_name, job_arguments: job_arguments,
            interval: [job_interval.to_i, MINIMUM_INTERVAL].max, min_value: batch_min_value, max_value: last || batch_min_value,
            batch_class_name: batch_class_name, batch_size: batch_size, sub_batch_size: sub_batch_size,
            max_batch_size: max_batch_size, gitlab_schema: schema, queued_migration_version: version
          )
          check_argument_count(migration)
          save_batched_migration(migration, empty: last.nil?)
        end

        # For the down direction of a queueing migration.
        def delete_batched_background_migration(job_class_name, table_name, column_name, job_arguments)
          configuration = [job_class_name, table_name, column_name, job_arguments]
          configuration.unshift(Gitlab::Database.gitlab_schemas_for_connection(connection)) if MiniGitlab.since?(:gitlab_schema)
          BackgroundMigration::BatchedMigration.for_configuration(*configuration).delete_all
        end

        private

        def restricted_schema
          (self.class.restricted_to if self.class.respond_to?(:restricted_to)) || :gitlab_main
        end

        def last_value(table_name, column_name)
          define_batchable_model(table_name, connection: connection).maximum(column_name)
        end

        # Columns that this shape of the table does not have are left out.
        def new_batched_migration(attributes)
          model = BackgroundMigration::BatchedMigration
          model.reset_column_information
          model.new(attributes.select { |name, _| model.column_names.include?(name.to_s) })
        end

        def check_argument_count(migration)
          expected = migration.job_class.job_arguments_count
          given = migration.job_arguments.size
          return if given == expected

          raise "Wrong number of job arguments for #{migration.job_class_name} (given #{given}, expected #{expected})"
        end

        def save_batched_migration(migration, empty:)
          migration.total_tuple_count = PgClass.for_table(migration.table_name)&.cardinality_estimate
          migration.become!(empty ? :finished : :active)
        end
      end
    end
  end
end
