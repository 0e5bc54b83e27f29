# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddProjectNamespaceIdToProjects < Gitlab::Database::Migration[1.0]
  def change
    add_column :projects, :project_namespace_id, :bigint
  end
end
