# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module EachDatabase
      # Yields connection and name; SharedModel uses the connection meanwhile.
      def self.each_connection(only: nil, include_shared: true)
        Gitlab::Database.base_models.each do |name, model|
          next if only && name != only.to_s
          next if !include_shared && Gitlab::Database.db_config_share_with(model.connection_db_config)

          SharedModel.using_connection(model.connection) { yield model.connection, name }
        end
      end
    end
  end
end
