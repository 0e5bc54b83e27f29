# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class InitializeConversionOfTaggingsToBigint < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def up
    initialize_conversion_of_integer_to_bigint :taggings, %i[id taggable_id]
  end

  def down; end
end
