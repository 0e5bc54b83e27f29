# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # PostgreSQL's catalogue of tables, for its estimate of their rows.
    class PgClass < SharedModel
      self.table_name = 'pg_class'
      self.primary_key = 'oid'

      def self.for_table(name)
        find_by('relname = ? AND relnamespace = current_schema()::regnamespace', name.to_s)
      end

      def cardinality_estimate
        reltuples.to_i if reltuples.to_i.positive?
      end
    end
  end
end
