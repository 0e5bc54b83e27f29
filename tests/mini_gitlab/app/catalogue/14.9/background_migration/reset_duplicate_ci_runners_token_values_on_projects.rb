# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Non-batched; known to stick. Of the projects of the mini GitLab none has a runner's token.
    class ResetDuplicateCiRunnersTokenValuesOnProjects < MarksWithRecords
      private

      def records
        ::Project.none
      end
    end
  end
end
