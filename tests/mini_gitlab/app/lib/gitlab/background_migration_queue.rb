# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'json'

module Gitlab
  # The older, non-batched background migrations: messages in Sidekiq's queue
  # and schedule, in Redis. What they would do is left out; what is left of them
  # is not: a message that was worked on is gone, its tracked row succeeded.
  module BackgroundMigrationQueue
    QUEUE = 'resque:gitlab:queue:background_migration'
    SCHEDULE = 'resque:gitlab:schedule'
    WORKER = 'BackgroundMigrationWorker'

    def remaining(**)
      messages.size
    end

    # Works on the messages of one class, here and now.
    def steal(class_name, **)
      messages.select { |message| parsed(message)['args'].first == class_name }.each { |message| work_on(message) }
    end

    # What Sidekiq does in a while: the next message that is due.
    def work_on_next
      message = messages.first
      work_on(message) if message
    end

    private

    def messages
      redis = ExclusiveLease.redis
      return [] unless redis

      (redis.lrange(QUEUE, 0, -1).reverse + redis.zrange(SCHEDULE, 0, -1)).select { |message| parsed(message)['class'] == WORKER }
    end

    def parsed(message)
      JSON.parse(message)
    end

    def work_on(message)
      redis = ExclusiveLease.redis
      redis.lrem(QUEUE, 1, message)
      redis.zrem(SCHEDULE, message)
      class_name, arguments = parsed(message)['args']
      Database::BackgroundMigrationJob.mark_all_as_succeeded(class_name, arguments)
    end
  end
end
