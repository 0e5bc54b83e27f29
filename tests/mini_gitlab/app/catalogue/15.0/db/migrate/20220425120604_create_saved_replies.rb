# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateSavedReplies < Gitlab::Database::Migration[2.0]
  def change
    create_table(:saved_replies) { |t| t.bigint :user_id, null: false; t.timestamps null: false; t.text :name, :content, null: false }
  end
end
