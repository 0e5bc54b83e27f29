# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

# For the test bed only: nothing outside of tests may call these.
namespace :mini_gitlab do
  rows = 2000
  tables = {
    'main' => {
      'namespaces (name, path)' => "'group ' || n, 'group-' || n",
      'projects (name, path, namespace_id)' => "'project ' || n, 'project-' || n, n",
      'users (username, email)' => "'user' || n, 'user' || n || '@example.org'",
      'issues (project_id, iid, title)' => "n, 1, 'issue ' || n",
      'routes (source_id, source_type, path)' => "n, 'Namespace', 'group-' || n",
      'events (project_id, author_id)' => 'n, n',
      'push_event_payloads (event_id, commit_count, ref)' => "n, 1, 'main'",
      'deployments (project_id, deployable_id, deployable_type, ref)' => "n, n, 'CommitStatus', 'main'",
      'taggings (tag_id, taggable_id, taggable_type, context)' => "n, n, 'Project', 'topics'"
    },
    'ci' => {
      'ci_stages (project_id, pipeline_id, name)' => "n, n, 'test'",
      'ci_builds (project_id, stage_id, name, status)' => "n, n, 'job ' || n, 'success'",
      'ci_builds_metadata (build_id, project_id)' => 'n, n',
      'ci_pipeline_messages (pipeline_id, content)' => "n, 'message'",
      'ci_pipeline_chat_data (pipeline_id, response_url)' => "n, 'https://example.org'"
    }
  }

  desc 'Fill the tables that there are with rows, if they have none'
  task(:seed, [:rows] => :environment) do |_task, arguments|
    count = Integer(arguments.fetch(:rows, rows))
    tables.each do |database, inserts|
      database = 'main' unless Gitlab::Database.database_names_with_tasks.include?(database)
      connection = Gitlab::Database.base_models.fetch(database).connection
      inserts.each do |target, values|
        table = target[/\A\w+/]
        next if !connection.table_exists?(table) || connection.select_value("SELECT count(*) FROM #{table}") > 1

        connection.execute("INSERT INTO #{target} SELECT #{values} FROM generate_series(1, #{count}) AS n")
        connection.execute("ANALYZE #{table}")
      end
    end
  end

  desc 'Add projects with a repository, an upload, and one file in each other part of a backup'
  task(:seed_data, [:projects] => :environment) do |_task, arguments|
    require_relative '../mini_gitlab/seed_data'
    MiniGitlab::SeedData.add(Integer(arguments.fetch(:projects, 3)))
  end

  desc 'What the instance holds: for each part on disk and each table a count and a digest of the content'
  task(data_digest: :environment) do
    require_relative '../mini_gitlab/seed_data'
    puts MiniGitlab::SeedData.digest
  end

  desc 'Queue the background migrations that are new in this version, as an upgrade to it would have'
  task(queue: :environment) do
    introduced = File.readlines(File.join(MiniGitlab::ROOT, 'db/introduced.txt'), chomp: true)
    original = ActiveRecord::Base.connection_db_config
    Gitlab::Database.database_names_with_tasks.each do |name|
      ActiveRecord::Base.establish_connection(Gitlab::Database.db_configs.find { |config| config.name == name })
      queueing = ActiveRecord::Base.connection.migration_context.migrations.select do |migration|
        next unless introduced.include?(File.basename(migration.filename))

        File.read(migration.filename).match?(/\b(queue_batched_background_migration|backfill_conversion_of_integer_to_bigint)\b/)
      end
      queueing.each { |migration| migration.send(:migration).exec_migration(ActiveRecord::Base.connection, :up) }
    end
  ensure
    ActiveRecord::Base.establish_connection(original)
  end
end
