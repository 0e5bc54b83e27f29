# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddEnvironmentTierToDeployments < Gitlab::Database::Migration[2.2]
  def change
    add_column :deployments, :environment_tier, :integer, limit: 2
  end
end
