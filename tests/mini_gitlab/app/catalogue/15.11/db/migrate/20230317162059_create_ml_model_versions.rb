# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateMlModelVersions < Gitlab::Database::Migration[2.1]
  def change
    create_table(:ml_model_versions) { |t| t.bigint :project_id, null: false; t.timestamps null: false; t.text :version }
  end
end
