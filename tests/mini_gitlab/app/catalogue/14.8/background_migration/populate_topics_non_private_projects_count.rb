# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Non-batched; known to stick: it never touches its row.
    class PopulateTopicsNonPrivateProjectsCount
      def perform(_start_id, _end_id); end
    end
  end
end
