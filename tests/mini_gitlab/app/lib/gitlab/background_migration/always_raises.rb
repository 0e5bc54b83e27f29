# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class: no batch of it ever works.
    class AlwaysRaises < BatchedMigrationJob
      def perform
        raise ArgumentError, 'boom from the job'
      end
    end
  end
end
