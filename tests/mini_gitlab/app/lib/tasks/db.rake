# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require_relative '../mini_gitlab/schema_load'

module MiniGitlab
  # What the tasks of gitlab:db print and do.
  module DatabaseTasks
    module_function

    def mark_migration_complete(version, only: nil)
      return mark_before_14_3(version) unless MiniGitlab.since?(:mark_complete_per_database)

      fail_with('Must give a version argument that is a non-zero integer') if version.to_i.zero?
      Gitlab::Database::EachDatabase.each_connection(only: only) do |connection, name|
        mark(connection, version, version, " on database #{name}")
      end
    end

    def mark_before_14_3(version)
      fail_with('Must specify a migration version as an argument') unless version
      fail_with("Version '#{version}' must be a non-zero integer") if version.to_i.zero?
      mark(ActiveRecord::Base.connection, version.to_i, version, '')
    end

    def mark(connection, stored, shown, where)
      connection.execute("INSERT INTO schema_migrations (version) VALUES (#{connection.quote(stored.to_s)})")
      puts Rainbow("Successfully marked '#{shown}' as complete#{where}").green
    rescue ActiveRecord::RecordNotUnique
      puts Rainbow("Migration version '#{shown}' is already marked complete#{where}").yellow
    end

    def fail_with(text)
      puts Rainbow(text).red
      exit 1
    end

    def configure
      Gitlab::Database.several_databases? ? configure_each : configure_one('main', '')
      puts 'Skipping Topology Service health check due to the cell being disabled' if MiniGitlab.since?(:topology_service_line)
    end

    def configure_each
      Gitlab::Database.database_names_with_tasks.each { |name| configure_one(name, ":#{name}") }
    end

    # A database with more than schema_migrations has been in use before.
    def configure_one(name, suffix)
      connection = Gitlab::Database.base_models.fetch(name).connection
      task = connection.tables.size > 1 ? "db:migrate#{suffix}" : "db:schema:load#{suffix}"
      puts "Running #{task} rake task" if MiniGitlab.since?(:configure_announces_task)
      Rake::Task[task].invoke
      SchemaLoad.seed if name == 'main' && task.start_with?('db:schema:load')
    end

    def active
      fail_with('Migrations pending. Database not active') if ActiveRecord::Base.connection.migration_context.needs_migration?
      fail_with('No user created projects. Database not active') unless Project.exists?
      puts 'Found user created projects. Database active'
    end

    # What a restore does first: functions and types stay behind.
    def drop_tables(connection)
      tables = connection.tables.reject { |table| table == 'schema_migrations' }
      connection.execute('TRUNCATE schema_migrations') if connection.table_exists?('schema_migrations')
      connection.views.each { |view| connection.execute("DROP VIEW IF EXISTS #{connection.quote_table_name(view)} CASCADE") }
      tables.each { |table| connection.execute("DROP TABLE IF EXISTS #{connection.quote_table_name(table)} CASCADE") }
      %w[gitlab_partitions_dynamic gitlab_partitions_static].each { |schema| connection.execute("DROP SCHEMA IF EXISTS #{schema} CASCADE") }
    end

    def unattended
      pending = ActiveRecord::Base.connection.migration_context.needs_migration?
      Rake::Task['db:migrate'].invoke if pending
      puts pending ? 'unattended_migrations_completed' : 'unattended_migrations_static'
    end
  end
end

%w[db:schema:load db:structure:load].each { |name| Rake::Task[name].clear }

namespace :db do
  namespace :schema do
    task load: :environment do
      Gitlab::Database.database_names_with_tasks.each { |name| MiniGitlab::SchemaLoad.into(name) }
    end

    if Gitlab::Database.several_databases?
      Gitlab::Database.database_names_with_tasks.each do |name|
        Rake::Task["db:schema:load:#{name}"].clear
        namespace(:load) { task(name => :environment) { MiniGitlab::SchemaLoad.into(name) } }
      end
    end
  end
end

namespace :gitlab do
  namespace :db do
    tasks = MiniGitlab::DatabaseTasks

    desc 'Manually insert a schema migration version on all configured databases'
    task(:mark_migration_complete, [:version] => :environment) do |_task, arguments|
      tasks.mark_migration_complete(arguments[:version])
    end

    if Gitlab::Database.several_databases? && MiniGitlab.since?(:mark_complete_per_database)
      Gitlab::Database.database_names_with_tasks.each do |name|
        namespace :mark_migration_complete do
          desc "Manually insert a schema migration version on the #{name} database"
          task(name, [:version] => :environment) { |_task, arguments| tasks.mark_migration_complete(arguments[:version], only: name) }
        end

        namespace :drop_tables do
          task(name => :environment) { tasks.drop_tables(Gitlab::Database.base_models.fetch(name).connection) }
        end
      end
    end

    desc 'Configures the database by running migrate, or by loading the schema and seeding if needed'
    task(configure: :environment) { tasks.configure }

    desc 'Check if the database is active'
    task(active: :environment) { tasks.active }

    desc 'Run migrations if any are pending'
    task(unattended: :environment) { tasks.unattended }

    desc 'Drop all tables, views and partition schemas'
    task(drop_tables: :environment) do
      Gitlab::Database::EachDatabase.each_connection(include_shared: false) { |connection, _name| tasks.drop_tables(connection) }
    end
  end
end
