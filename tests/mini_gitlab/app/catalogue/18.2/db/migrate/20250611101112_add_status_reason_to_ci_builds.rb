# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddStatusReasonToCiBuilds < Gitlab::Database::Migration[2.3]
  def change
    add_column :ci_builds, :status_reason, :text
  end
end
