# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # Helpers for migration files.
    module MigrationHelpers
      include DynamicModelHelpers

      autoload :BatchedBackgroundMigrations, "#{LIBRARY}/gitlab/database/migration_helpers/batched_background_migrations"
      autoload :ConvertToBigint, "#{LIBRARY}/gitlab/database/migration_helpers/convert_to_bigint"
      autoload :FinishedCheck, "#{LIBRARY}/gitlab/database/migration_helpers/finished_check"
      autoload :LockRetries, "#{LIBRARY}/gitlab/database/migration_helpers/lock_retries"

      include BatchedBackgroundMigrations
      include ConvertToBigint
      include FinishedCheck
      include LockRetries
    end
  end
end
