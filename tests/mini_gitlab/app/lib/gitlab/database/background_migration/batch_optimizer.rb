# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # Grows or shrinks batch_size so that a job takes nearly the interval.
      class BatchOptimizer
        TARGET = (0.9..0.95).freeze
        SIZES = (1_000..2_000_000).freeze
        JOBS = 20
        ALPHA = 0.4
        MAX_FACTOR = 1.2

        def initialize(migration)
          @migration = migration
        end

        def optimize!
          return unless MiniGitlab.since?(:always_optimizes) || Feature.enabled?(:optimize_batched_migrations, type: :ops)

          efficiency = @migration.smoothed_time_efficiency(number_of_jobs: JOBS, alpha: ALPHA)
          return if efficiency.nil? || efficiency.zero? || TARGET.cover?(efficiency)

          factor = [TARGET.max / efficiency, MAX_FACTOR].min
          @migration.update!(batch_size: (@migration.batch_size * factor).to_i.clamp(SIZES.min, upper_bound))
        end

        private

        def upper_bound
          limit = @migration.max_batch_size if @migration.has_attribute?(:max_batch_size)
          [limit || SIZES.max, SIZES.min].max
        end
      end
    end
  end
end
