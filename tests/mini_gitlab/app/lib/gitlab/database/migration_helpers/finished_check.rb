# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module MigrationHelpers
      # Stops a migration whose background migration is not finished.
      module FinishedCheck
        ADDRESS = 'https://docs.gitlab.com/ee/%s#database-migrations-failing-because-of-batched-background-migration-not-finished'
        OLD_PAGE = 'user/admin_area/monitoring/background_migrations.html'
        NEW_PAGE = 'update/background_migrations.html'

        def ensure_batched_background_migration_is_finished(job_class_name:, table_name:, column_name:, job_arguments:, finalize: true)
          return if MiniGitlab.loading_schema?

          forbid_transaction(__method__)
          configuration = {
            job_class_name: job_class_name, table_name: table_name, column_name: column_name, job_arguments: job_arguments
          }
          migration = find_batched_migration(configuration)
          return AppLogger.warn("Could not find batched background migration for the given configuration: #{configuration}") unless migration
          return confirm(migration) if done?(migration)

          finalize_batched_background_migration(**configuration) if finalize && MiniGitlab.since?(:inline_finalize)
          return confirm(migration.reload) if done?(migration.reload)

          raise unfinished_text(migration, configuration)
        end

        def finalize_batched_background_migration(job_class_name:, table_name:, column_name:, job_arguments:)
          forbid_transaction(__method__)
          BackgroundMigration::BatchedMigrationRunner.finalize(job_class_name, table_name, column_name, job_arguments, connection: connection)
        end

        private

        def forbid_transaction(name)
          return unless MiniGitlab.since?(:inline_finalize) && transaction_open?

          raise "The `#{name}` cannot be run inside a transaction."
        end

        def find_batched_migration(configuration)
          values = configuration.values_at(:job_class_name, :table_name, :column_name, :job_arguments)
          values.unshift(Gitlab::Database.gitlab_schemas_for_connection(connection)) if MiniGitlab.since?(:gitlab_schema)
          BackgroundMigration::BatchedMigration.find_for_configuration(*values)
        end

        def done?(migration)
          %w[finished finalized].include?(migration.status_word)
        end

        def confirm(migration)
          migration.confirm_finalize! if MiniGitlab.since?(:finalized_status) && migration.status_word == 'finished'
        end

        def unfinished_text(migration, configuration)
          parts = [
            "Expected batched background migration for the given configuration to be marked as 'finished', " \
            "but it is '#{migration.status_word}':\t#{configuration}",
            heading, "\t#{command(configuration)}"
          ]
          parts.push('For more information, check the documentation', "\t#{address}") if MiniGitlab.since?(:sudo_in_check)
          parts.join("\n\n")
        end

        def heading
          return 'Finalize it manualy by running' unless MiniGitlab.since?(:manually_in_shell)

          'Finalize it manually by running the following command in a `bash` or `sh` shell:'
        end

        def command(configuration)
          job_class_name, table_name, column_name, job_arguments = configuration.values
          arguments = MiniGitlab.since?(:compact_arguments_in_check) ? job_arguments.to_json : job_arguments.inspect
          sudo = 'sudo ' if MiniGitlab.since?(:sudo_in_check)
          task = 'gitlab:background_migrations:finalize'
          "#{sudo}gitlab-rake #{task}[#{job_class_name},#{table_name},#{column_name},'#{arguments.gsub(',', '\,')}']"
        end

        def address
          format(ADDRESS, MiniGitlab.since?(:manually_in_shell) ? NEW_PAGE : OLD_PAGE)
        end
      end
    end
  end
end
