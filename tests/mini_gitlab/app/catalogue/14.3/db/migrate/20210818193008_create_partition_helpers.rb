# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreatePartitionHelpers < ActiveRecord::Migration[6.1]
  def up
    execute("CREATE TYPE security_training_level AS ENUM ('none', 'basic', 'full')")
    execute(<<~SQL)
      CREATE FUNCTION next_traversal_ids_sibling(traversal_ids integer[]) RETURNS integer[] LANGUAGE sql IMMUTABLE
      AS 'SELECT traversal_ids[1:array_length(traversal_ids, 1) - 1] || traversal_ids[array_length(traversal_ids, 1)] + 1'
    SQL
    execute('CREATE VIEW postgres_async_indexes_pending AS SELECT id, name, table_name FROM postgres_async_indexes')
  end

  def down
    execute('DROP VIEW postgres_async_indexes_pending')
    execute('DROP FUNCTION next_traversal_ids_sibling(integer[])')
    execute('DROP TYPE security_training_level')
  end
end
