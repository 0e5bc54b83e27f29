# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class of the older kind that keeps no row: nothing but its message knows of it. Says in the log that it ran.
    class UntrackedJob
      def perform(*arguments)
        sleep(arguments.last) if arguments.size == 3
        AppLogger.info(message: 'UntrackedJob', arguments: arguments)
      end
    end
  end
end
