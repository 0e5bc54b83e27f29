# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillNamespaceIdForRoutes < Gitlab::Database::Migration[1.0]
  def up
    queue_batched_background_migration(
      'BackfillNamespaceIdForNamespaceRoute', :routes, :id, job_interval: 2.minutes, batch_size: 1000, sub_batch_size: 200
    )
  end

  def down
    delete_batched_background_migration('BackfillNamespaceIdForNamespaceRoute', :routes, :id, [])
  end
end
