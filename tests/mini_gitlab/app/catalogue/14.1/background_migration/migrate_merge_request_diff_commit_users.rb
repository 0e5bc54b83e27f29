# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Non-batched; must be finished before 14.5.
    class MigrateMergeRequestDiffCommitUsers < TrackedJob; end
  end
end
