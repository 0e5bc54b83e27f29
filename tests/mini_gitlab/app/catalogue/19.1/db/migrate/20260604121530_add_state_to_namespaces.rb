# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddStateToNamespaces < Gitlab::Database::Migration[2.3]
  def change
    add_column :namespaces, :state, :integer, limit: 2
  end
end
