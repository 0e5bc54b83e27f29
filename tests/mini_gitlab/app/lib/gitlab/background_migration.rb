# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  # The older, non-batched background migrations: messages for Sidekiq, in Redis, and the classes that do the work.
  module BackgroundMigration
    # Up to 14.3: there is one database.
    module OneDatabase
      def queue
        coordinator.queue
      end

      def steal(steal_class, retry_dead_jobs: false, &block)
        coordinator.steal(steal_class, retry_dead_jobs: retry_dead_jobs, &block)
      end

      def perform(class_name, arguments)
        coordinator.perform(class_name, arguments)
      end

      def remaining
        coordinator.remaining
      end

      private

      def coordinator
        JobCoordinator.for_tracking_database('main')
      end
    end

    # Since then each database has its own queue, with main's as the default.
    module SeveralDatabases
      def coordinator_for_database(database)
        JobCoordinator.for_tracking_database(database)
      end

      def queue(database: 'main')
        coordinator_for_database(database).queue
      end

      def steal(steal_class, retry_dead_jobs: false, database: 'main', &block)
        coordinator_for_database(database).steal(steal_class, retry_dead_jobs: retry_dead_jobs, &block)
      end

      def perform(class_name, arguments, database: 'main')
        coordinator_for_database(database).perform(class_name, arguments)
      end

      def remaining(database: 'main')
        coordinator_for_database(database).remaining
      end
    end

    unless MiniGitlab.since?(:without_background_migrations)
      extend(MiniGitlab.since?(:background_migrations_per_database) ? SeveralDatabases : OneDatabase)
    end
  end
end
