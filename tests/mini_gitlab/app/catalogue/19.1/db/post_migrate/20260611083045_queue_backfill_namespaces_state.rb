# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class QueueBackfillNamespacesState < Gitlab::Database::Migration[2.3]
  restrict_gitlab_migration gitlab_schema: :gitlab_main

  def up
    queue_batched_background_migration('BackfillNamespacesState', :namespaces, :id, job_interval: 2.minutes, batch_size: 1000, sub_batch_size: 100)
  end

  def down
    delete_batched_background_migration('BackfillNamespacesState', :namespaces, :id, [])
  end
end
