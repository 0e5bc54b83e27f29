# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class of the older kind that never works.
    class RaisingJob
      def perform(start_id, end_id)
        raise ArgumentError, "boom from the older job (#{start_id} to #{end_id})"
      end
    end
  end
end
