# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module MigrationHelpers
      # Takes locks with a short limit, so that a migration that cannot have
      # its lock fails instead of holding up everybody behind it.
      module LockRetries
        ATTEMPTS = 3
        TIMEOUT = '1s'
        PAUSE_SECONDS = 1

        def with_lock_retries(&block)
          attempt = 0
          begin
            attempt += 1
            connection.transaction(requires_new: true) do
              connection.execute("SET LOCAL lock_timeout TO '#{TIMEOUT}'")
              block.call
            end
          rescue ActiveRecord::LockWaitTimeout
            raise if attempt >= ATTEMPTS

            sleep(PAUSE_SECONDS)
            retry
          end
        end
      end
    end
  end
end
