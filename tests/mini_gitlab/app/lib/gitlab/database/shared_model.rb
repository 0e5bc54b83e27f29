# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # Tables that every database has; they are those of main unless a block
    # chooses another connection.
    class SharedModel < ActiveRecord::Base
      self.abstract_class = true

      class << self
        def using_connection(connection)
          current = overriding_connection
          if current && !current.equal?(connection)
            raise "Cannot change connection for #{name}: it is in use with '#{Gitlab::Database.db_config_name(current)}'"
          end

          self.overriding_connection = connection
          yield
        ensure
          self.overriding_connection = current
        end

        def connection
          overriding_connection || super
        end

        private

        def overriding_connection
          Thread.current[:mini_gitlab_shared_connection]
        end

        def overriding_connection=(connection)
          Thread.current[:mini_gitlab_shared_connection] = connection
        end
      end
    end
  end
end
