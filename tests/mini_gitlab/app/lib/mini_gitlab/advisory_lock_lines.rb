# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # Newer versions say which connection holds the lock while they migrate.
  module AdvisoryLockLines
    def with_advisory_lock
      super do
        announce_lock
        yield.tap { announce_lock }
      end
    end

    private

    def announce_lock
      return unless ActiveRecord::Migration.verbose && MiniGitlab.since?(:advisory_lock_lines)

      connection = ActiveRecord::Base.connection
      process = connection.select_value('SELECT pg_backend_pid()')
      puts "#{ActiveRecord::Base.connection_db_config.name}: == [advisory_lock_connection] object_id: #{connection.object_id}, pg_backend_pid: #{process}"
    end
  end
end
