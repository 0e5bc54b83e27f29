# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateLfsObjects < ActiveRecord::Migration[6.1]
  def change
    create_table :lfs_objects do |t|
      t.string :oid, null: false
      t.bigint :size, null: false
      t.timestamps
    end
  end
end
