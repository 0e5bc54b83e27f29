# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Backup
  # What was asked for in the environment; rake puts NAME=value of its command line there.
  class Options
    LISTS = { skipped: 'SKIP', repositories_storages: 'REPOSITORIES_STORAGES', repositories_paths: 'REPOSITORIES_PATHS',
              skip_repositories_paths: 'SKIP_REPOSITORIES_PATHS' }.freeze

    def initialize(environment = ENV)
      @environment = environment
      @from_archive = []
    end

    def backup_id
      @environment['BACKUP'].presence
    end

    def previous_backup
      @environment['PREVIOUS_BACKUP'].presence || backup_id
    end

    # Up to 14.9 the variable meant nothing.
    def incremental?
      MiniGitlab.since?(:backup_incremental) && Gitlab::TaskHelpers.yes?(@environment['INCREMENTAL'])
    end

    def copies_first?
      @environment['STRATEGY'] == 'copy'
    end

    def quiet?
      @environment['CRON'].present?
    end

    def force?
      return @environment['force'] == 'yes' unless MiniGitlab.since?(:backup_stamped_lines)

      Gitlab::TaskHelpers.yes?(@environment['force'])
    end

    def skips_storage_check?
      Gitlab::TaskHelpers.yes?(@environment['BACKUP_SKIP_STORAGE_CHECK'])
    end

    def server_side?
      MiniGitlab.since?(:backup_chooses_servers) && Gitlab::TaskHelpers.yes?(@environment['REPOSITORIES_SERVER_SIDE'])
    end

    def compress_command
      @environment['COMPRESS_CMD'].presence || "gzip -c -1#{' --rsyncable' if @environment['GZIP_RSYNCABLE'] == 'yes'}"
    end

    def decompress_command
      @environment['DECOMPRESS_CMD'].presence || 'gzip -cd'
    end

    def list(name)
      @environment.fetch(LISTS.fetch(name), '').split(',')
    end

    def given(name)
      @environment[LISTS.fetch(name)]
    end

    # What the archive was made without cannot be restored from it.
    def add_skipped(text)
      @from_archive = text.to_s.split(',')
    end

    def skip?(name)
      (list(:skipped) + @from_archive).include?(name)
    end

    # Up to 14.9 a restore looked only at what the backup had left out.
    def skip_restore?(name)
      MiniGitlab.since?(:backup_stamped_lines) ? skip?(name) : @from_archive.include?(name)
    end
  end
end
