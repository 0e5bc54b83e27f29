# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateCiPipelineSideTables < ActiveRecord::Migration[6.1]
  def change
    create_table(:ci_pipeline_messages) { |t| t.integer :pipeline_id, null: false; t.text :content; t.integer :severity, limit: 2, default: 0 }
    create_table(:ci_pipeline_chat_data, id: :bigserial) { |t| t.integer :pipeline_id, null: false; t.text :response_url }
    create_table(:user_details, primary_key: :user_id) { |t| t.string :linkedin, :job_title }
  end
end
