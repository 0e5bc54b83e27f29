# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateProtectedEnvironmentApprovalRules < Gitlab::Database::Migration[1.0]
  def change
    create_table(:protected_environment_approval_rules) { |t| t.bigint :protected_environment_id, null: false; t.timestamps null: false }
  end
end
