# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddArchivedToDeployments < Gitlab::Database::Migration[2.1]
  disable_ddl_transaction!

  def up
    with_lock_retries do
      connection.execute('ALTER TABLE deployments ADD COLUMN archived boolean DEFAULT false NOT NULL')
    end
  end

  def down
    remove_column :deployments, :archived
  end
end
