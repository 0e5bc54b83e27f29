# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class of the older kind: as most of them, it sets its own tracked row to succeeded. A third argument is how many seconds it takes.
    class TrackedJob
      def perform(start_id, end_id, seconds = 0)
        sleep(seconds)
        mark_job_as_succeeded(start_id, end_id, *([seconds] unless seconds.zero?))
      end

      private

      # Arguments of the row and of the job must be equal.
      def mark_job_as_succeeded(*arguments)
        AppLogger.info(message: self.class.name.demodulize, arguments: arguments)
        Gitlab::Database::BackgroundMigrationJob.mark_all_as_succeeded(self.class.name.demodulize, arguments)
      end
    end
  end
end
