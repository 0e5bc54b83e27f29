# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'
require 'open3'

module Backup
  # The databases: pg_dump and psql, each through gzip. Connections that share a database are dumped once.
  class DatabaseStore
    IGNORED = /WARNING:|does not exist$|must be owner of/.freeze
    VARIABLES = { username: 'PGUSER', host: 'PGHOST', port: 'PGPORT', password: 'PGPASSWORD', sslmode: 'PGSSLMODE', sslkey: 'PGSSLKEY',
                  sslcert: 'PGSSLCERT', sslrootcert: 'PGSSLROOTCERT', sslcrl: 'PGSSLCRL', sslcompression: 'PGSSLCOMPRESSION' }.freeze

    WARNING = <<~TEXT
      Be sure to stop Puma, Sidekiq, and any other process that
      connects to the database before proceeding. For Omnibus
      installs, see the following link for more information:
      https://docs.gitlab.com/ee/raketasks/backup_restore.html#restore-for-omnibus-gitlab-installations

      Before restoring the database, we will remove all existing
      tables to avoid future upgrade problems. Be aware that if you have
      custom tables in the GitLab database these tables and all data will be
      removed.
    TEXT
    ERRORS_WARNING = <<~TEXT
      There were errors in restoring the schema. This may cause
      issues if this results in missing indexes, constraints, or
      columns. Please record the errors above and contact GitLab
      Support if you have questions:
      https://about.gitlab.com/support/
    TEXT

    # names: the connections it is for.
    def initialize(progress, options, names)
      @progress = progress
      @options = options
      @names = names
      @errors = []
    end

    # The file of a database, inside of the backup.
    def self.file(name)
      File.join('db', "#{"#{name}_" unless name == 'main'}database.sql.gz")
    end

    def dump(root, _backup_id)
      FileUtils.mkdir_p(File.join(root, 'db'))
      (@names & Gitlab::Database.database_names_with_tasks).each { |name| dump_one(name, File.join(root, self.class.file(name))) }
    end

    # Asks for leave, tells that time is running, drops the tables.
    def prepare(name)
      unless @options.force?
        @progress.removing_tables
        sleep(5)
      end
      @progress.cleaning do
        task = "gitlab:db:drop_tables:#{name}"
        Rake::Task[Rake::Task.task_defined?(task) ? task : 'gitlab:db:drop_tables'].invoke
      end
    end

    def restore(root)
      @names.each do |name|
        file = File.join(root, self.class.file(name))
        next restore_one(name, file) if File.exist?(file)
        raise Error, "Source database file does not exist #{file}" if name == 'main'

        @progress.database_missing(name)
        break
      end
    end

    def warning_before
      WARNING unless @options.force?
    end

    # What psql complained about, without what is known to be harmless.
    def warning_after
      ERRORS_WARNING if @errors.any?
    end

    private

    def settings_of(name)
      Gitlab::Database.db_configs.find { |config| config.name == name }.configuration_hash
    end

    def dump_one(name, file)
      FileUtils.rm_f(file)
      settings = settings_of(name)
      @progress.database_begins('Dumping', settings[:database])
      statuses = Open3.pipeline([environment(name), 'pg_dump', '--clean', '--if-exists', *schemas, settings[:database]],
                                @options.compress_command, out: [file, 'w', 0o600])
      succeeded = statuses.all?(&:success?)
      @progress.database_ends(succeeded)
      raise DatabaseBackupError.new(settings, file) unless succeeded
    end

    def schemas
      name = Gitlab.config.fetch('backup')['pg_schema'].presence
      name ? [name, 'gitlab_partitions_dynamic', 'gitlab_partitions_static'].flat_map { |schema| ['-n', schema] } : []
    end

    def restore_one(name, file)
      prepare(name) if MiniGitlab.since?(:backup_stamped_lines)
      database = settings_of(name)[:database]
      @progress.database_begins('Restoring', database)
      succeeded, found = feed(environment(name), database, file)
      @progress.schema_errors(found) if found.any?
      @errors += found
      @progress.database_ends(succeeded)
      raise Error, 'Restore failed' unless succeeded
    end

    # psql goes on after an error and ends with 0: only its words tell.
    def feed(environment, database, file)
      found = []
      reader, writer = IO.pipe
      unpacking = spawn(@options.decompress_command, in: file, out: writer)
      writer.close
      status = Open3.popen3(environment, 'psql', database) do |input, output, complaints, process|
        printing = Thread.new { $stdout.write(output.read) }
        listening = Thread.new do
          complaints.each_line do |line|
            warn(line)
            found << line unless IGNORED.match?(line)
          end
        end
        send_all(reader, input)
        [printing, listening].each(&:join)
        process.value
      end
      unpacked = Process.wait2(unpacking).last
      [unpacked.success? && status.success?, found]
    end

    def send_all(reader, input)
      IO.copy_stream(reader, input)
    rescue Errno::EPIPE
      nil
    ensure
      input.close
      reader.close
    end

    # PgBouncer has to be gone round: GITLAB_BACKUP_PGHOST and its like come before database.yml.
    def environment(name)
      VARIABLES.to_h { |key, variable| [variable, overrides(name, variable) || settings_of(name)[key].to_s.presence || ENV[variable]] }
    end

    def overrides(name, variable)
      return if MiniGitlab.since?(:backup_variables_ignored) && !MiniGitlab.since?(:backup_variables_again)

      own = ENV["GITLAB_BACKUP_#{name.upcase}_#{variable}"].presence if MiniGitlab.since?(:backup_variables_per_database)
      own || ENV["GITLAB_BACKUP_#{variable}"].presence
    end
  end
end
