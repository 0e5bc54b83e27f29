# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module BackgroundMigration
    # Test class without arguments.
    class NoArgsJob < BatchedMigrationJob
      operation_name :update_all

      def perform
        each_sub_batch { |sub_batch| sub_batch.update_all('id_convert_to_bigint = id') }
      end
    end
  end
end
