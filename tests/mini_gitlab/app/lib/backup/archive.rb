# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'

module Backup
  # The backup directory and the archives in it.
  class Archive
    SUFFIX = '_gitlab_backup.tar'
    # Only what has the time of its making for a name is ever deleted.
    DATED = /\A(\d{10})(?:_\d{4}_\d{2}_\d{2}(_\d+\.\d+\.\d+((-|\.)(pre|rc\d))?(-ee)?)?)?_gitlab_backup\.tar\z/.freeze

    attr_reader :folder

    def initialize(progress, options)
      @settings = Gitlab.config.fetch('backup')
      @folder = @settings.fetch('path')
      @progress = progress
      @options = options
    end

    def pack(id, members)
      name = "#{id}#{SUFFIX}"
      @progress.step("Creating backup archive: #{name}") do
        output = [File.join(@folder, name), 'w', @settings.fetch('archive_permissions', 0o600)]
        next true if system('tar', '-cf', '-', *members, chdir: @folder, out: output)

        @progress.warning(worded("Creating archive #{name} failed"))
        raise Error, 'Backup failed'
      end
    end

    # Whether it was an archive; otherwise the backup lies unpacked there already.
    def unpack(wanted)
      if wanted.nil? && left_unpacked?
        @progress.warning("Non tarred backup found in #{@folder}, using that")
        return false
      end

      name = choose(wanted)
      check_space(File.join(@folder, name)) if MiniGitlab.since?(:backup_checks_space) && !@options.skips_storage_check?
      @progress.step('Unpacking backup') do
        system('tar', '-xf', name, chdir: @folder) || refuse(worded('Unpacking backup failed'))
      end
      true
    end

    # The directory of an archive that was unpacked, or never packed, and not cleaned up.
    def left_unpacked?
      File.exist?(File.join(@folder, Information::FILE))
    end

    def remove_old
      keep = @settings['keep_time'].to_i
      return @progress.left_out('Deleting old backups') unless keep.positive?

      @progress.step('Deleting old backups') do
        old = names.select { |name| (time = name[DATED, 1]) && Time.at(time.to_i) < Time.now - keep }
        FileUtils.rm(old.map { |name| File.join(@folder, name) })
        "done. (#{old.size} removed)"
      end
    end

    def remove_staged(members)
      present = members.uniq.map { |name| File.join(@folder, name) }.select { |path| File.exist?(path) }
      @progress.removals(present) { |path| FileUtils.rm_rf(path) }
    end

    def remove_moved_away
      @progress.step('Deleting backups/tmp') do
        FileUtils.rm_rf(File.join(@folder, 'tmp'))
        true
      end
    end

    private

    def names
      Dir.children(@folder).select { |name| name.end_with?(SUFFIX) }.sort
    end

    def choose(wanted)
      refuse("No backups found in #{@folder}", "Please make sure that file name ends with #{SUFFIX}") if names.empty?
      refuse_to_guess if wanted.nil? && names.many?
      name = wanted ? "#{File.basename(wanted)}#{SUFFIX}" : names.first
      return name if File.exist?(File.join(@folder, name))

      refuse("The backup file #{name} does not exist!")
    end

    def refuse_to_guess
      task, verb = if @options.incremental?
                     ['create INCREMENTAL=true PREVIOUS_BACKUP', 'create an incremental backup for']
                   else
                     ['restore BACKUP', 'restore']
                   end
      refuse('Found more than one backup:', *names.map { |name| " #{name.delete_suffix(SUFFIX)}" },
             "Please specify which one you want to #{verb}:", "rake gitlab:backup:#{task}=timestamp_of_backup")
    end

    def refuse(*lines)
      lines.each { |text| @progress.warning(text) }
      exit 1
    end

    # Older versions go on in the line of the step.
    def worded(text)
      MiniGitlab.since?(:backup_stamped_lines) ? text : text[0].downcase + text[1..]
    end

    # Unpacking, the data that moves aside, and the new data: about three times the archive.
    def check_space(archive)
      available = `df -Pk #{@folder}`.lines.last.split[3].to_i * 1024
      required = File.size(archive) * 3
      return if available >= required

      refuse("Insufficient disk space in #{@folder}: #{available} bytes available, estimated #{required} bytes required. " \
             'Set BACKUP_SKIP_STORAGE_CHECK=true to bypass this check.')
    end
  end
end
