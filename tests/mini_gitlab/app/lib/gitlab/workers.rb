# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Database
  # One cycle of the cron job that GitLab starts each minute for a database.
  module SingleDatabaseWorker
    LEASE_FACTOR = 3
    LEASE_MINIMUM = 10.minutes.to_i
    VARIANCE = 5.seconds
    FLAG = :execute_batched_migrations_on_schedule

    def perform
      return unless Gitlab::Database.configured?(tracking_database)

      model = Gitlab::Database.base_models.fetch(tracking_database)
      return if Gitlab::Database.db_config_share_with(model.connection_db_config)

      Gitlab::Database::SharedModel.using_connection(model.connection) { run_due_migrations(model.connection) }
    end

    private

    def run_due_migrations(connection)
      return unless Feature.enabled?(FLAG, type: :ops)
      return if MiniGitlab.since?(:ddl_flag) && Feature.enabled?(:disallow_database_ddl_feature_flags, type: :ops)

      errors = due_migrations(connection).map { |migration| error_of(migration) }.compact
      raise errors.first if errors.any?
    end

    # In GitLab each one is a job in Sidekiq of its own: none stops another.
    def error_of(migration)
      BatchedBackgroundMigration::ExecutionWorker.new.perform_work(tracking_database, migration.id)
      nil
    rescue StandardError => error
      error
    end

    def due_migrations(connection)
      migrations = Gitlab::Database::BackgroundMigration::BatchedMigration
      return migrations.executable_in(connection).limit(1).to_a unless MiniGitlab.since?(:parallel_execution)

      migrations.active_migrations_distinct_on_table(connection: connection, limit: parallelism).to_a
    end

    def parallelism
      ApplicationSetting.current.database_max_running_batched_background_migrations
    end
  end

  class BatchedBackgroundMigrationWorker
    include SingleDatabaseWorker

    def tracking_database
      'main'
    end
  end

  module BatchedBackgroundMigration
    class CiDatabaseWorker
      include SingleDatabaseWorker

      def tracking_database
        'ci'
      end
    end

    # Runs one job of one migration, if its interval has passed.
    class ExecutionWorker
      def perform_work(database, migration_id)
        connection = Gitlab::Database.base_models.fetch(database).connection
        Gitlab::Database::SharedModel.using_connection(connection) do
          migration = Gitlab::Database::BackgroundMigration::BatchedMigration.executable_in(connection).find_by(id: migration_id)
          next unless migration&.interval_elapsed?(variance: SingleDatabaseWorker::VARIANCE)

          Gitlab::ExclusiveLease.exclusively(lease_key(database, migration), lease_seconds(migration)) do
            Gitlab::Database::BackgroundMigration::BatchedMigrationRunner.new(connection: connection).run_migration_job(migration)
          end
        end
      end

      private

      def lease_key(database, migration)
        "database/batched_background_migration/execution_worker:#{database}:#{migration.table_name}"
      end

      def lease_seconds(migration)
        [migration.interval * SingleDatabaseWorker::LEASE_FACTOR, SingleDatabaseWorker::LEASE_MINIMUM].max
      end
    end
  end
end
