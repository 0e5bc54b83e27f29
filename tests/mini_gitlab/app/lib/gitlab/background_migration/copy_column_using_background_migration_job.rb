# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Copies columns of a table into others of the same table.
    class CopyColumnUsingBackgroundMigrationJob < BatchedMigrationJob
      job_arguments :copy_from, :copy_to
      operation_name :update_all

      def perform
        assignments = assignment_clauses
        each_sub_batch { |sub_batch| sub_batch.update_all(assignments) }
      end

      private

      def assignment_clauses
        sources = Array.wrap(copy_from)
        targets = Array.wrap(copy_to)
        raise ArgumentError, 'number of source and destination columns must match' unless sources.size == targets.size

        targets.zip(sources).map { |pair| pair.map { |name| connection.quote_column_name(name) }.join(' = ') }.join(', ')
      end
    end
  end
end
