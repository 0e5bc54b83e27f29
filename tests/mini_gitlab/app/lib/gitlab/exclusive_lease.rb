# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  # A lock in Redis that ends by itself. Without config/resque.yml there is no
  # Redis, and nobody to share a lock with.
  module ExclusiveLease
    CONFIGURATION = File.join(MiniGitlab::ROOT, 'config/resque.yml')

    class << self
      # Runs the block unless somebody else holds the lease.
      def exclusively(key, seconds)
        return yield unless redis

        token = SecureRandom.uuid
        return unless redis.set("gitlab:exclusive_lease:#{key}", token, nx: true, ex: seconds)

        begin
          yield
        ensure
          redis.del("gitlab:exclusive_lease:#{key}") if redis.get("gitlab:exclusive_lease:#{key}") == token
        end
      end

      def redis
        return unless File.exist?(CONFIGURATION)

        @redis ||= begin
          require 'redis'
          Redis.new(url: url)
        end
      end

      # Where Redis is, for all who use it.
      def url
        settings = YAML.safe_load(File.read(CONFIGURATION)).fetch(Rails.env.to_s)
        settings.is_a?(Hash) ? settings.fetch('url') : settings
      end
    end
  end
end
