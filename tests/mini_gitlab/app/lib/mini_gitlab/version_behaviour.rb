# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # Everything that differs between GitLab versions and is not a matter of
  # files or tables is decided here, and asked for with MiniGitlab.since?.
  module VersionBehaviour
    SINCE = {
      # gitlab:background_migrations:finalize exists; status 5 exists
      finalize_task: '14.1',
      finalizing_status: '14.1',
      # Retry in the admin area
      retry_failed_jobs: '14.3',
      # Gitlab::Database.database_base_models; finalize takes a connection
      several_connections: '14.4',
      # the check's text says sudo and gives the documentation's address
      sudo_in_check: '14.2',
      # gitlab:db:mark_migration_complete works per connection, with other texts
      mark_complete_per_database: '14.3',
      status_task: '14.3',
      # the non-batched background migrations of each database have a queue of their own: `database:`
      background_migrations_per_database: '14.9',
      # rake tasks per database, "Database: main"
      tasks_per_database: '14.9',
      # job_arguments are parsed once (14.9 parsed them twice)
      arguments_parsed_once: '14.10',
      # state_machine in the place of enum
      state_machines: '14.10',
      transition_logs: '14.10',
      # the check prints arguments as compact JSON
      compact_arguments_in_check: '14.10',
      gitlab_schema: '15.0',
      # the check finalizes by itself unless told not to, and refuses to run in a transaction
      inline_finalize: '15.1',
      # restricted state changes, attempts reset by finalize, text of FailedToFinalize
      restricted_transitions: '16.0',
      finalize_resets_attempts: '16.0',
      failed_to_finalize_text: '16.0',
      # a timeout in a sub-batch makes the sub-batches smaller
      sub_batch_timeouts: '16.0',
      # scopes and methods that the model did not have in 15
      newer_model: '16.0',
      # one migration per table, several at a time
      parallel_execution: '16.1',
      finished_at: '16.1',
      # "Finalize it manually ... in a `bash` or `sh` shell", newer address
      manually_in_shell: '16.0',
      configure_announces_task: '16.0',
      # db:migrate prints "main: == [advisory_lock_connection] ..." around the migrations
      advisory_lock_lines: '16.0',
      # the flag disallow_database_ddl_feature_flags
      ddl_flag: '16.4',
      finalized_status: '17.0',
      topology_service_line: '18.0',
      # without the flag optimize_batched_migrations
      always_optimizes: '18.4',
      # gitlab:background_migrations:list, show, pause, resume
      command_line: '18.5',
      execute_tasks: '18.7',
      progress_column: '18.9',
      # nothing is left of the non-batched background migrations but their table
      without_background_migrations: '19.0',
      wait_task: '19.4',

      # Backups. The exact release of most is inferred.
      # repositories by the program gitaly-backup, which writes JSON lines
      backup_gitaly_program: '14.3',
      # "Deleting backups/tmp" after a restore
      backup_removes_moved: '14.3',
      # terraform states, packages
      backup_of_packages: '14.7',
      # every line has its time; SKIP counts for a restore; what was unpacked is removed after a failure too
      backup_stamped_lines: '14.10',
      # INCREMENTAL; repositories as numbered bundles
      backup_incremental: '14.10',
      # backup_information.yml has repositories_storages and repositories_paths
      backup_chooses_repositories: '15.0',
      # main_database, ci_database; later one part "database" again
      backup_part_for_each_database: '15.0',
      backup_one_part_for_databases: '15.8',
      # backup_restore.pid; first any such file was in the way
      backup_lock: '15.6',
      backup_lock_looks_for_process: '16.0',
      # GITLAB_BACKUP_PG... had no effect for some versions
      backup_variables_ignored: '15.11',
      backup_variables_again: '16.7',
      backup_variables_per_database: '16.5',
      backup_of_secure_files: '16.1',
      # backup_information.yml has skip_repositories_paths and repositories_server_side
      backup_chooses_servers: '16.3',
      # the time in backup_information.yml is no longer an object of Rails
      backup_plain_times: '16.6',
      backup_records_id: '16.8',
      backup_verify_task: '16.10',
      # a part that failed makes the exit code 1
      backup_failure_counts: '16.11',
      # the lines about databases have their time too; the path of the PID file
      backup_logs_databases: '17.0',
      # repositories below the storage's name, with manifests
      backup_manifests: '17.0',
      backup_of_external_diffs: '17.1',
      # repositories that could not be restored no longer end the run, nor count
      backup_restores_on: '17.2',
      # a restore wants three times the archive's size to be free
      backup_checks_space: '18.2'
    }.freeze

    # The double parse existed in 14.9 only.
    DOUBLE_PARSE_SINCE = '14.9'

    module_function

    def version
      ENV['MINI_GITLAB_BEHAVE_AS'] || File.read(File.join(MiniGitlab::ROOT, 'VERSION')).strip
    end

    def since?(switch)
      at = overrides.fetch(switch.to_s) { version }
      number(at) >= number(SINCE.fetch(switch))
    end

    def arguments_parsed_twice?
      !since?(:arguments_parsed_once) && number(version) >= number(DOUBLE_PARSE_SINCE)
    end

    def overrides
      @overrides ||= ENV.fetch('MINI_GITLAB_SWITCHES', '').split(',').to_h { |pair| pair.split('=', 2) }
    end

    def number(version)
      Gem::Version.new(version[/\A\d+(\.\d+)*/])
    end
  end

  def self.since?(switch)
    VersionBehaviour.since?(switch)
  end
end
