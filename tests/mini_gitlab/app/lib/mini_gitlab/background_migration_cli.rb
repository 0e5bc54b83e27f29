# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'rainbow'

module MiniGitlab
  # gitlab:background_migrations:list, show, pause, resume, execute, execute_all.
  # Ids are `<database>_<id>`.
  class BackgroundMigrationCli
    COLUMNS = %i[id table_name job_class_name status].freeze
    SHOWN = %i[
      id created_at updated_at min_value max_value batch_size sub_batch_size interval status job_class_name batch_class_name
      table_name column_name job_arguments total_tuple_count pause_ms max_batch_size started_at on_hold_until gitlab_schema
      finished_at queued_migration_version min_cursor max_cursor
    ].freeze
    TIME = '%Y-%m-%d %H:%M:%S UTC'

    def list
      columns = MiniGitlab.since?(:progress_column) ? [*COLUMNS, :progress] : COLUMNS
      rows = [columns.map(&:to_s)]
      each_migration { |migration, name| rows << columns.map { |column| cell(migration, name, column) } }
      widths = rows.transpose.map { |cells| cells.map(&:length).max }
      puts ''
      rows.each_with_index do |row, index|
        puts row.zip(widths).map { |text, width| text.ljust(width) }.join(' | ')
        puts widths.map { |width| '-' * width }.join('-|-') if index.zero?
      end
      puts ''
    end

    def show(id)
      with_migration(id) do |migration, name|
        width = SHOWN.map(&:length).max
        SHOWN.each { |column| puts "#{column.to_s.ljust(width)} | #{shown(migration, name, column)}".rstrip }
      end
    end

    def pause(id)
      with_migration(id) do |migration, _name|
        refuse('You can pause only `active` background migrations.') unless migration.active?
        migration.pause!
        puts Rainbow('Done.').green
      end
    end

    def resume(id)
      with_migration(id) do |migration, _name|
        refuse('You can resume only `paused` background migrations.') unless migration.paused?
        migration.execute!
        puts Rainbow('Done.').green
      end
    end

    def execute(id)
      confirm('Are you sure you want to execute this migration?')
      with_migration(id) do |migration, _name|
        puts "Executing background migration `#{id}`..."
        finalize(migration)
        puts Rainbow('Done.').green
      rescue StandardError
        refuse("Background migration `#{id}` could not be completed. Check with `gitlab:background_migrations:show[#{id}]` for more details.")
      end
    end

    # Ends with 0 whatever happened to the migrations.
    def execute_all
      confirm('Are you sure you want to execute all unfinished migrations?')
      Gitlab::Database::EachDatabase.each_connection(include_shared: false) do |_connection, name|
        unfinished = migrations.unfinished.queue_order.to_a
        next puts("[#{name}] No migrations to execute.") if unfinished.empty?

        puts "[#{name}] Executing #{unfinished.size} background migrations..."
        unfinished.each { |migration| execute_one(migration, "#{name}_#{migration.id}") }
      end
    end

    private

    def migrations
      Gitlab::Database::BackgroundMigration::BatchedMigration
    end

    def each_migration
      Gitlab::Database::EachDatabase.each_connection(include_shared: false) do |_connection, name|
        migrations.queue_order.each { |migration| yield migration, name }
      end
    end

    def with_migration(full_id)
      name, id = full_id.to_s.match(/\A([a-z]+)_(\d+)\z/)&.captures
      model = name && Gitlab::Database.base_models[name]
      refuse("Background migration `#{full_id}` not found.") unless model
      Gitlab::Database::SharedModel.using_connection(model.connection) do
        migration = migrations.find_by(id: id)
        refuse("Background migration `#{full_id}` not found.") unless migration
        yield migration, name
      end
    end

    def cell(migration, name, column)
      case column
      when :id then "#{name}_#{migration.id}"
      when :status then migration.status_name.to_s
      when :progress then migration.progress ? format('%.2f%%', migration.progress) : ''
      else migration[column].to_s
      end
    end

    def shown(migration, name, column)
      return cell(migration, name, column) if %i[id status].include?(column)

      value = migration[column]
      case value
      when Time then value.strftime(TIME)
      when Array, Hash then value.to_json
      else value.to_s
      end
    end

    def execute_one(migration, id)
      puts "[#{id}]: Start."
      finalize(migration)
      puts "[#{id}]: Done."
    rescue Gitlab::Database::BackgroundMigration::BatchedMigrationRunner::FailedToFinalize
      puts "[#{id}]: Failed."
    rescue StandardError => error
      puts "[#{id}]: Failed: '#{error.message}'."
    end

    def finalize(migration)
      Gitlab::Database::BackgroundMigration::BatchedMigrationRunner.finalize(
        migration.job_class_name, migration.table_name, migration.column_name, migration.job_arguments,
        connection: migrations.connection
      )
    end

    # Asked only where somebody can answer.
    def confirm(question)
      return unless $stdin.tty? && $stdout.tty?

      print "#{question} (y/N) "
      return if $stdin.gets.to_s.match?(/\Ay/i)

      puts 'Bye.'
      exit 0
    end

    def refuse(text)
      puts Rainbow(text).red
      exit 1
    end
  end
end
