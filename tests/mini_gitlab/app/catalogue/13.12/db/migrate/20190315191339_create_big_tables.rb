# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateBigTables < ActiveRecord::Migration[6.1]
  def change
    create_table(:events, id: :integer) { |t| t.integer :project_id, :author_id; t.integer :action, limit: 2, null: false, default: 1 }
    create_table(:ci_stages, id: :integer) { |t| t.integer :project_id, :pipeline_id; t.string :name }
    create_table(:ci_builds, id: :integer) { |t| t.integer :project_id, :stage_id; t.string :name, :status }
    create_table(:ci_builds_metadata, id: :integer) { |t| t.integer :build_id, :project_id, null: false; t.integer :timeout }
    create_table :push_event_payloads, id: false do |t|
      t.bigint :commit_count, null: false, default: 0
      t.integer :event_id, null: false, primary_key: true
      t.string :ref
    end
    create_table(:deployments, id: :integer) { |t| t.integer :project_id, :deployable_id; t.string :deployable_type, :ref }
    create_table(:taggings, id: :integer) { |t| t.integer :tag_id, :taggable_id; t.string :taggable_type, :context }
  end
end
