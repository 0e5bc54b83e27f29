# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # What a job measured: seconds and affected rows, by name of operation.
      class BatchMetrics
        attr_reader :timings, :affected_rows

        def initialize
          @timings = {}
          @affected_rows = {}
        end

        # Runs the block, which returns a number of rows.
        def instrument_operation(name)
          started = clock
          rows = yield
          (timings[name] ||= []) << (clock - started)
          (affected_rows[name] ||= []) << rows if rows.is_a?(Integer)
          rows
        end

        def to_h
          { timings: timings, affected_rows: affected_rows }.reject { |_, values| values.empty? }
        end

        private

        def clock
          Process.clock_gettime(Process::CLOCK_MONOTONIC)
        end
      end
    end
  end
end
