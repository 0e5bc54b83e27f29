# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'active_record'

module MiniGitlab
  ROOT = File.expand_path('../..', __dir__)

  def self.migrations_paths
    paths = [File.join(ROOT, 'db/migrate')]
    paths << File.join(ROOT, 'db/post_migrate') unless ENV['SKIP_POST_DEPLOYMENT_MIGRATIONS'].present?
    paths
  end

  # While an empty database gets its tables, nothing is queued: GitLab loads
  # db/structure.sql, which holds no rows.
  def self.loading_schema
    @loading_schema = true
    yield
  ensure
    @loading_schema = false
  end

  def self.loading_schema?
    @loading_schema || false
  end

  # Reads the configuration; connects to nothing.
  def self.configure_active_record
    ActiveRecord::Migrator.prepend(AdvisoryLockLines)
    ActiveRecord::Base.configurations # loads the class that is changed next
    ActiveRecord::DatabaseConfigurations.prepend(HideSharedDatabases)
    ActiveRecord::Base.dump_schema_after_migration = false
    ActiveRecord::Base.default_timezone = :utc
    ActiveRecord::Base.configurations = Rails.application.load_database_yaml
    tasks = ActiveRecord::Tasks::DatabaseTasks
    tasks.env = Rails.env
    tasks.root = ROOT
    tasks.db_dir = File.join(ROOT, 'db')
    tasks.migrations_paths = migrations_paths
    ActiveRecord::Migrator.migrations_paths = migrations_paths
    Time.zone_default = Time.find_zone('UTC')
    ActiveRecord::Base.establish_connection(Rails.env.to_sym)
  end
end

require 'active_support/string_inquirer'
require 'active_support/core_ext/object/blank'
require 'active_support/core_ext/string'
require 'active_support/core_ext/integer/time'
require 'active_support/core_ext/numeric/time'
require_relative 'rails'
require_relative 'database_yml'
require_relative 'version_behaviour'
require_relative 'autoloads'
require_relative 'advisory_lock_lines'

# As with Zeitwerk: a missing constant is Ruby's own NameError.
ActiveSupport::Dependencies.unhook! if defined?(ActiveSupport::Dependencies)
MiniGitlab.configure_active_record
