# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateContentBlockedStates < ActiveRecord::Migration[6.1]
  def change
    create_table(:content_blocked_states) { |t| t.timestamps null: false; t.binary :commit_sha, :blob_sha, null: false; t.text :path, null: false }
  end
end
