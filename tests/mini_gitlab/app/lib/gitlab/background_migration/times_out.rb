# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class: its statement is cancelled by a statement timeout.
    class TimesOut < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch do
          connection.transaction do
            connection.execute("SET LOCAL statement_timeout TO '50ms'")
            connection.execute('SELECT pg_sleep(1)')
          end
        end
      end
    end
  end
end
