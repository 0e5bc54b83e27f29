# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Non-batched; known to stick. The mini GitLab has no merge requests, and takes issues.
    class BackfillDraftStatusOnMergeRequests < MarksWithRecords
      private

      def records
        ::Issue.where('title ~* ?', 'draft')
      end
    end
  end
end
