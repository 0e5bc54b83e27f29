# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      class BatchedJobTransitionLog < SharedModel
        MAX_MESSAGE = 1000
        MAX_CLASS = 100

        self.table_name = :batched_background_migration_job_transition_logs
        self.primary_key = :id

        before_validation do
          self.exception_class = exception_class&.truncate(MAX_CLASS)
          self.exception_message = exception_message&.truncate(MAX_MESSAGE)
        end
      end
    end
  end
end
