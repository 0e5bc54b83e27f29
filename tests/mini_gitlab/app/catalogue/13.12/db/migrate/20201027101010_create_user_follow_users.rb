# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateUserFollowUsers < ActiveRecord::Migration[6.1]
  def change
    create_table(:user_follow_users, id: false) do |t|
      t.integer :follower_id, :followee_id, null: false
      t.index %i[follower_id followee_id], unique: true
    end
  end
end
