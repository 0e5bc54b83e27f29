# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # Stands for loading db/structure.sql: the tables of all migrations, every
  # version up, no rows, nothing queued, no output.
  module SchemaLoad
    module_function

    def into(name)
      config = Gitlab::Database.db_configs.find { |candidate| candidate.name == name }
      original = ActiveRecord::Base.connection_db_config
      verbose = ActiveRecord::Migration.verbose
      ActiveRecord::Base.establish_connection(config)
      ActiveRecord::Migration.verbose = false
      MiniGitlab.loading_schema { ActiveRecord::Base.connection.migration_context.migrate }
    ensure
      ActiveRecord::Migration.verbose = verbose
      ActiveRecord::Base.establish_connection(original)
    end

    # The rows every new instance has.
    def seed
      ApplicationSetting.reset_column_information
      ApplicationSetting.current
      User.reset_column_information
      User.create!(username: 'root', admin: true) unless User.exists?
    end
  end
end
