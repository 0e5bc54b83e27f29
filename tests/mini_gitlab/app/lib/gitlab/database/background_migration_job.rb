# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # A job of the older, non-batched background migrations.
    class BackgroundMigrationJob < SharedModel
      self.table_name = :background_migration_jobs
      enum status: { pending: 0, succeeded: 1 }

      scope :for_migration_class, ->(class_name) { where(class_name: class_name.to_s.delete_prefix('::')) }

      # @return [Integer] how many pending rows became succeeded
      def self.mark_all_as_succeeded(class_name, arguments)
        pending.for_migration_class(class_name).where('arguments = ?', arguments.to_json).update_all('status = 1, updated_at = NOW()')
      end
    end
  end
end
