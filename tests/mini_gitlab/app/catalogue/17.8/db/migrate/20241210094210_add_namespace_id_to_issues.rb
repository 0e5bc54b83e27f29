# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class AddNamespaceIdToIssues < Gitlab::Database::Migration[2.2]
  disable_ddl_transaction!

  def up
    with_lock_retries { connection.execute('ALTER TABLE issues ADD COLUMN namespace_id bigint') }
  end

  def down
    remove_column :issues, :namespace_id
  end
end
