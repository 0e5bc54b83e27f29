# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'sidekiq'
require 'sidekiq/api'
require 'sidekiq/job_retry'
require 'sidekiq/scheduled'

# Sidekiq itself, in the Redis of config/resque.yml and under the prefix that GitLab gives its keys.
Sidekiq.logger.level = Logger::WARN
Sidekiq.redis = { url: Gitlab::ExclusiveLease.url, namespace: 'resque:gitlab' }
Redis.silence_deprecations = true
