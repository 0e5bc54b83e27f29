# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Backup
  # gitlab:backup:create, restore and verify, and the same for single parts.
  class Manager
    SECRETS = "Warning: Your gitlab.rb and gitlab-secrets.json files contain sensitive data \nand are not included in this backup."

    def initialize
      @options = Options.new
      @progress = Progress.for(@options)
      @archive = Archive.new(@progress, @options)
      @parts = Parts.all(@progress, @options)
    end

    # Whether all parts went well; up to 16.10 nobody asks.
    def create
      succeeded = Lock.new(@progress).hold do
        MiniGitlab.since?(:backup_stamped_lines) ? create_all : create_all_before_14_10
      end
      exit 1 if !succeeded && MiniGitlab.since?(:backup_failure_counts)
    end

    def restore
      Lock.new(@progress).hold do
        was_archive = @archive.unpack(@options.backup_id)
        MiniGitlab.since?(:backup_stamped_lines) ? restore_all : restore_all_before_14_10(was_archive)
      end
    end

    def verify
      Lock.new(@progress).hold do
        @archive.unpack(@options.backup_id)
        cleaning_up do
          read_information
          check_version
          @progress.mismatch("GitLab version matches:\n  Your current GitLab version (#{Gitlab::VERSION}) matches the GitLab version in the backup.")
        end
      end
    end

    # One part, which stays unpacked in the backup directory.
    def create_part(name)
      succeeded = Lock.new(@progress).hold do
        @information = Information.build(@options)
        chosen(name).map { |part| dump(part) }.all?
      end
      exit 1 if !succeeded && MiniGitlab.since?(:backup_failure_counts)
    end

    def restore_part(name)
      Lock.new(@progress).hold do
        read_information if MiniGitlab.since?(:backup_stamped_lines)
        chosen(name).each { |part| restore_one(part) }
      end
    end

    private

    def chosen(name)
      @parts.select { |part| part.name == name }
    end

    def create_all
      previous = unpack_previous if @options.incremental?
      @information = Information.build(@options, previous)
      succeeded = cleaning_up { dump_all }
      farewell
      succeeded
    end

    def dump_all
      succeeded = @parts.map { |part| dump(part) }.all?
      @information.save(@archive.folder)
      unless @options.skip?('tar')
        @archive.pack(id, members)
        @progress.left_out('Uploading backup archive to remote storage ')
        @archive.remove_old
      end
      succeeded
    end

    # Whatever happens, nothing stays unpacked.
    def cleaning_up
      yield
    ensure
      @archive.remove_staged([Information::FILE, *@parts.map(&:leftover)]) unless @options.skip?('tar')
      @archive.remove_moved_away
    end

    def farewell
      @progress.warning("#{SECRETS} You will need these files to restore a backup.\nPlease back them up manually.")
      @progress.warning(MiniGitlab.since?(:backup_stamped_lines) ? "Backup #{id} is done." : 'Backup task is done.')
    end

    def create_all_before_14_10
      @information = Information.build(@options)
      succeeded = @parts.map { |part| dump(part) }.all?
      @information.save(@archive.folder)
      @archive.pack(id, members) unless @options.skip?('tar')
      @progress.left_out('Uploading backup archive to remote storage ')
      unless @options.skip?('tar')
        @archive.remove_staged(members)
        @archive.remove_old
      end
      farewell
      succeeded
    end

    def unpack_previous
      @archive.unpack(@options.previous_backup)
      read_information
      check_version
      @information
    end

    def id
      @information.id(@options)
    end

    def dump(part)
      return @progress.part_left_out('Dumping', part, 'DISABLED') || true unless part.enabled
      return @progress.part_left_out('Dumping', part, 'SKIPPED') || true if @options.skip?(part.name)

      @progress.part_begins('Dumping', part)
      part.store.dump(@archive.folder, @information)
      @progress.part_ends('Dumping', part)
      true
    rescue PartError => error
      @progress.part_failed(part, error)
      false
    end

    # Old archives have the information at their end, newer ones at their beginning.
    def members
      present = @parts.reject { |part| !part.enabled || @options.skip?(part.name) || absent?(part) }.map(&:destination)
      return [Information::FILE, *present] if MiniGitlab.since?(:backup_stamped_lines)

      folders, tarballs = present.partition { |name| !name.end_with?('.gz') }
      [*folders.reverse, *tarballs, Information::FILE]
    end

    def absent?(part)
      part.optional && !File.exist?(File.join(@archive.folder, part.destination))
    end

    def restore_all
      cleaning_up do
        read_information
        check_version
        @parts.each { |part| restore_one(part) if part.enabled && !@options.skip_restore?(part.name) }
        finish_restore
      end
      restore_farewell
    end

    def restore_all_before_14_10(was_archive)
      read_information
      check_version
      unless @options.skip_restore?('db')
        ask(chosen('db').first.store.warning_before)
        chosen('db').first.store.prepare('main')
        restore_one(chosen('db').first)
      end
      @parts.each { |part| restore_one(part) unless part.name == 'db' || !part.enabled || @options.skip_restore?(part.name) }
      finish_restore
      @archive.remove_staged(members) if was_archive
      @archive.remove_moved_away if MiniGitlab.since?(:backup_removes_moved)
      restore_farewell
    end

    def finish_restore
      Rake::Task['gitlab:shell:setup'].invoke
      Rake::Task['cache:clear'].invoke
    end

    def restore_farewell
      @progress.warning("#{SECRETS} You will need to restore these files manually.")
      @progress.warning('Restore task is done.')
    end

    # Up to 14.9 the questions of the database had their own places: before its line, and before its end.
    def restore_one(part)
      return @progress.part_left_out('Restoring', part, 'DISABLED') unless part.enabled

      stamped = MiniGitlab.since?(:backup_stamped_lines)
      @progress.part_begins('Restoring', part)
      ask(part.store.warning_before) if stamped
      part.store.restore(@archive.folder)
      @progress.part_ends('Restoring', part) if stamped
      ask(part.store.warning_after)
      @progress.part_ends('Restoring', part) unless stamped
    end

    def ask(warning)
      return unless warning

      @progress.warning(warning)
      Gitlab::TaskHelpers.ask_to_continue
    rescue Gitlab::TaskAbortedByUserError
      @progress.warning('Quitting...')
      exit 1
    end

    def read_information
      @information = Information.load(@archive.folder)
      @options.add_skipped(@information[:skipped])
    end

    def check_version
      found = @information[:gitlab_version]
      return if found == Gitlab::VERSION

      @progress.mismatch(<<~TEXT)
        GitLab version mismatch:
          Your current GitLab version (#{Gitlab::VERSION}) differs from the GitLab version in the backup!
          Please switch to the following version and try again:
          version: #{found}
      TEXT
      @progress.mismatch('') unless MiniGitlab.since?(:backup_logs_databases)
      @progress.mismatch("Hint: git checkout v#{found}")
      exit 1
    end
  end
end
