# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # What a Sidekiq process does with the messages of the non-batched background migrations, one at a time.
  class SidekiqMessages
    WORKERS = %w[BackgroundMigrationWorker BackgroundMigration::CiDatabaseWorker].freeze

    # Moves what is due to its queue, and works on the next message of each.
    def work
      return if Gitlab::ExclusiveLease.redis.nil? || MiniGitlab.since?(:without_background_migrations)

      Sidekiq::Scheduled::Enq.new.enqueue_jobs
      WORKERS.map(&:constantize).each { |worker| work_on_next(worker.new, worker.sidekiq_options['queue']) }
    end

    private

    # What fails gets its retries, then is dead; what a shutdown ends goes back to its queue.
    def work_on_next(worker, queue)
      message = Sidekiq.redis { |redis| redis.rpop("queue:#{queue}") }
      return unless message

      Sidekiq::JobRetry.new.local(worker, message, queue) { perform(worker, message) }
    rescue Sidekiq::JobRetry::Skip => error
      raise error.cause
    rescue Sidekiq::Shutdown
      Sidekiq.redis { |redis| redis.rpush("queue:#{queue}", message) }
      raise Cron::Shutdown
    end

    def perform(worker, message)
      worker.perform(*Sidekiq.load_json(message).fetch('args'))
    rescue Cron::Shutdown
      raise Sidekiq::Shutdown
    end
  end
end
