# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # A statement timeout inside a sub-batch.
      class SubBatchTimeoutError < StandardError; end
    end
  end
end
