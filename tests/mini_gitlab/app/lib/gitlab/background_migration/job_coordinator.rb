# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # The messages and the tracked rows of one database.
    class JobCoordinator
      WORKERS = { 'main' => 'BackgroundMigrationWorker', 'ci' => 'BackgroundMigration::CiDatabaseWorker' }.freeze

      def self.for_tracking_database(name)
        known = WORKERS.keys.select { |database| Gitlab::Database.configured?(database) }
        raise ArgumentError, "The '#{name}' must be one of #{known}" unless known.include?(name.to_s)

        new(name.to_s, "::#{WORKERS.fetch(name.to_s)}".constantize)
      end

      attr_reader :worker_class

      def initialize(database, worker_class)
        @database = database
        @worker_class = worker_class
      end

      def queue
        worker_class.sidekiq_options['queue']
      end

      # Works on the messages of one class, here and now. One that fails goes back to the queue.
      def steal(class_name, retry_dead_jobs: false)
        with_shared_connection do
          messages(with_failed: retry_dead_jobs) do |message|
            name, arguments = message.args
            next unless name == class_name
            next if block_given? && !(yield message)

            work_on(message, arguments)
          end
        end
      end

      def perform(class_name, arguments)
        with_shared_connection { Gitlab::BackgroundMigration.const_get(class_name, false).new.perform(*arguments) }
      end

      def remaining
        messages.count
      end

      def with_shared_connection(&block)
        Gitlab::Database::SharedModel.using_connection(Gitlab::Database.base_models.fetch(@database).connection, &block)
      end

      private

      def messages(with_failed: false)
        return enum_for(:messages, with_failed: with_failed) unless block_given?

        sets = [Sidekiq::ScheduledSet, *([Sidekiq::RetrySet, Sidekiq::DeadSet] if with_failed)].map(&:new)
        [sets.shift, Sidekiq::Queue.new(queue), *sets].each do |set|
          set.each { |message| yield message if message.klass == worker_class.name }
        end
      end

      def work_on(message, arguments)
        perform(message.args.first, arguments) if message.delete
      rescue Exception # rubocop:disable Lint/RescueException
        worker_class.perform_async(message.args.first, arguments)
        raise
      end
    end
  end
end
