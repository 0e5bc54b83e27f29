# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'rainbow'

module MiniGitlab
  # What the tasks of gitlab:background_migrations print and do.
  module BackgroundMigrationTasks
    ARGUMENTS = %i[job_class_name table_name column_name job_arguments].freeze
    WAIT_VARIABLE = 'BATCHED_MIGRATIONS_WAIT_INTERVAL_SECONDS'
    WAIT_SECONDS = 30

    module_function

    def migrations
      Gitlab::Database::BackgroundMigration::BatchedMigration
    end

    def fail_with(text)
      puts Rainbow(text).red
      exit 1
    end

    def finalize(arguments, connection)
      ARGUMENTS.each { |name| fail_with("Must specify #{name} as an argument") unless arguments[name] }

      runner = Gitlab::Database::BackgroundMigration::BatchedMigrationRunner.new(connection: connection)
      runner.finalize(*arguments.values_at(*ARGUMENTS[0..2]), parse(arguments[:job_arguments]))
      puts Rainbow('Done.').green
    end

    def parse(text)
      text = Gitlab::Json.parse(text).to_s if VersionBehaviour.arguments_parsed_twice?
      Gitlab::Json.parse(text)
    end

    def line(migration, width)
      shown = [migration.job_class_name, migration.table_name, migration.column_name, migration.job_arguments.to_json].join(',')
      "#{migration.status_word.ljust(width)} | #{shown}"
    end

    def status(only: nil)
      Gitlab::Database::EachDatabase.each_connection(only: only, include_shared: false) do |_connection, name|
        puts "Database: #{name}" if MiniGitlab.since?(:tasks_per_database)
        width = Gitlab::Database::BackgroundMigration::MigrationStates.values.keys.map { |status| status.to_s.length }.max
        migrations.order(:id).each { |migration| puts line(migration, width) }
      end
    end

    def wait
      seconds = wait_seconds
      puts "Waiting for batched background migrations to finish, checking every #{seconds}s..."
      loop do
        failed = by_database { |scope| scope.with_status(:failed) }
        list_and_fail(failed) if failed.any?
        unfinished = by_database(&:unfinished)
        break if unfinished.empty?

        puts "Still waiting on #{unfinished.values.sum(&:size)} batched background migration(s):"
        list(unfinished)
        sleep(seconds)
      end
      puts 'All batched background migrations have finished.'
    end

    def wait_seconds
      text = ENV.fetch(WAIT_VARIABLE, WAIT_SECONDS.to_s)
      return text.to_i if text.match?(/\A[1-9]\d*\z/)

      puts "#{WAIT_VARIABLE} must be a positive integer, got #{text.inspect}"
      exit 1
    end

    def by_database
      found = {}
      Gitlab::Database::EachDatabase.each_connection(include_shared: false) do |_connection, name|
        rows = yield(migrations).order(:id).to_a
        found[name] = rows if rows.any?
      end
      found
    end

    def list(found)
      found.each do |name, rows|
        puts "Database: #{name}"
        width = rows.map { |row| row.status_word.length }.max
        rows.each { |row| puts "  #{line(row, width)}" }
      end
    end

    def list_and_fail(failed)
      puts 'Some batched background migrations are in a failed state and must be finalized manually:'
      list(failed)
      exit 1
    end
  end
end

namespace :gitlab do
  namespace :background_migrations do
    tasks = MiniGitlab::BackgroundMigrationTasks
    per_database = Gitlab::Database.several_databases? && MiniGitlab.since?(:tasks_per_database)

    if MiniGitlab.since?(:finalize_task)
      desc 'Synchronously finish a batched background migration'
      task :finalize, tasks::ARGUMENTS => :environment do |_task, arguments|
        tasks.fail_with('Please specify the database') if per_database
        tasks.finalize(arguments.to_h, ApplicationRecord.connection)
      end
    end

    if MiniGitlab.since?(:status_task)
      desc 'Display the status of batched background migrations'
      task(status: :environment) { tasks.status }
    end

    if per_database
      Gitlab::Database.database_names_with_tasks.each do |name|
        namespace :finalize do
          desc "Synchronously finish a batched background migration on the #{name} database"
          task name, tasks::ARGUMENTS => :environment do |_task, arguments|
            tasks.finalize(arguments.to_h, Gitlab::Database.base_models.fetch(name).connection)
          end
        end

        namespace :status do
          desc "Display the status of batched background migrations on the #{name} database"
          task(name => :environment) { tasks.status(only: name) }
        end
      end
    end

    if MiniGitlab.since?(:wait_task)
      desc 'Wait until all batched background migrations are finished'
      task(wait: :environment) { tasks.wait }
    end
  end
end
