# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddTimestampToSchemaMigration < ActiveRecord::Migration[6.1]
  def up
    execute('ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS finished_at timestamptz DEFAULT now()')
  end

  def down; end
end
