# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # Models for tables that have no class in the code.
    module DynamicModelHelpers
      def define_batchable_model(table_name, connection:)
        keys = connection.primary_keys(table_name)
        model = Class.new(ActiveRecord::Base) do
          include EachBatch
          self.table_name = table_name
          self.primary_key = keys.first
          self.inheritance_column = :_type_disabled
        end
        model.define_singleton_method(:connection) { connection }
        model.define_singleton_method(:name) { table_name.to_s.tr('.', '_').classify }
        model
      end
    end
  end
end
