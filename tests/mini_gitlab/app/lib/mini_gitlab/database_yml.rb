# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # config/database.yml as Omnibus writes it, and in its form before 14.
  module DatabaseYml
    # GitLab's own setting; it changes which error texts PostgreSQL gives.
    DEFAULTS = { 'prepared_statements' => false }.freeze

    module_function

    def path
      ENV['MINI_GITLAB_DATABASE_YML'] || File.join(ROOT, 'config/database.yml')
    end

    def load
      YAML.safe_load(File.read(path), aliases: true).transform_values do |databases|
        databases = { 'main' => databases } if databases.key?('adapter')
        databases.transform_values { |settings| DEFAULTS.merge(settings) }
      end
    end
  end

  # Rails 6.1 does not know `database_tasks: false`: databases that belong to
  # another connection are hidden from the tasks here, as Rails 7 does.
  module HideSharedDatabases
    def configs_for(env_name: nil, spec_name: nil, name: nil, include_replicas: false, include_hidden: false)
      found = super(env_name: env_name, spec_name: spec_name, name: name, include_replicas: include_replicas)
      return found if name || include_hidden

      found.select { |config| MiniGitlab.database_tasks?(config) }
    end
  end

  def self.database_tasks?(db_config)
    db_config.configuration_hash.fetch(:database_tasks, true) != false
  end
end
