# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    module BatchingStrategies
      # Batches of rows in the order of a column with unique values.
      class PrimaryKeyBatchingStrategy
        include Gitlab::Database::DynamicModelHelpers

        def initialize(connection:)
          @connection = connection
        end

        # @return [Array, nil] first and last value of the next batch
        def next_batch(table_name, column_name, batch_min_value:, batch_size:, job_arguments:, job_class: nil) # rubocop:disable Lint/UnusedMethodArgument
          model = define_batchable_model(table_name, connection: @connection)
          attribute = model.arel_table[column_name]
          model.where(attribute.gteq(batch_min_value)).each_batch(of: batch_size, column: column_name) do |batch|
            return batch.pick(attribute.minimum, attribute.maximum)
          end
          nil
        end
      end
    end
  end
end
