# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class BackfillProjectNamespacesForAllProjects < Gitlab::Database::Migration[1.0]
  def up
    queue_batched_background_migration(
      'ProjectNamespaces::BackfillProjectNamespaces', :projects, :id, nil, 'up',
      job_interval: 2.minutes, batch_size: 5000, sub_batch_size: 1000, max_batch_size: 5000
    )
  end

  def down
    delete_batched_background_migration('ProjectNamespaces::BackfillProjectNamespaces', :projects, :id, [nil, 'up'])
  end
end
