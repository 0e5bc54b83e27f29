# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    class BackfillDefaultOrganizationUsers < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch { |sub_batch| sub_batch.update_all(organization_id: 1) }
      end
    end
  end
end
