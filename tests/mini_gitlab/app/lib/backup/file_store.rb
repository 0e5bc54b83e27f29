# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'
require 'open3'

module Backup
  # A directory, packed by tar and gzip.
  class FileStore
    LOST_AND_FOUND = 'lost+found'
    VANISHED = 24

    def initialize(folder, tarball, excluded, options)
      @folder = folder
      @tarball = tarball
      @excluded = excluded
      @options = options
    end

    def dump(root, _backup_id)
      tarball = File.join(root, @tarball)
      source = File.realpath(@folder)
      FileUtils.rm_f(tarball)
      if @options.copies_first?
        copy = File.join(root, File.basename(source))
        raise FileBackupError.new(source, tarball) unless copied?(source, root)

        packed = packed?(copy, tarball)
        FileUtils.rm_rf(copy)
      else
        packed = packed?(source, tarball)
      end
      raise FileBackupError.new(source, tarball) unless packed
    end

    # What is there moves away first; the directory itself stays.
    def restore(root)
      tarball = File.join(root, @tarball)
      target = File.realpath(@folder)
      move_away(target, File.join(root, 'tmp', "#{File.basename(@tarball, '.tar.gz')}.#{Time.now.to_i}"))
      unpack = ['tar', '--unlink-first', '--recursive-unlink', '-C', target, '-xf', '-']
      statuses, errors = pipeline([@options.decompress_command, unpack], in: tarball)
      raise Error, "Restore operation failed: #{errors}" unless succeeded?(statuses[1], statuses[0], errors)
    end

    def warning_before; end

    def warning_after; end

    private

    def copied?(source, folder)
      command = ['rsync', '-a', '--delete', "--exclude=#{LOST_AND_FOUND}",
                 *@excluded.map { |name| "--exclude=/#{File.join(File.basename(source), name)}" }, source, folder]
      output, status = Open3.capture2e(*command)
      if status.exitstatus == VANISHED
        puts 'Warning: files vanished during rsync, retrying...'
        output, status = Open3.capture2e(*command)
      end
      puts output unless status.success?
      status.success?
    end

    def packed?(source, tarball)
      pack = ['tar', "--exclude=#{LOST_AND_FOUND}", *@excluded.map { |name| "--exclude=./#{name}" }, '-C', source, '-cf', '-', '.']
      statuses, errors = pipeline([pack, @options.compress_command], out: [tarball, 'w', 0o600])
      succeeded?(statuses[0], statuses[1], errors)
    end

    def pipeline(commands, streams)
      reader, writer = IO.pipe
      statuses = Open3.pipeline(*commands, streams.merge(err: writer))
      writer.close
      [statuses, reader.read]
    end

    # Files that change while they are read are no failure.
    def succeeded?(tar, compressor, errors)
      return false unless compressor.success?
      return true if tar.success?

      if tar.exitstatus == 1
        puts "Ignoring tar exit status 1 'Some files differ': #{errors}"
      elsif errors.match?(/^g?tar: \.: Cannot mkdir: No such file or directory$/)
        puts "Ignoring non-success exit status #{tar.exitstatus} due to output of non-critical warning(s): #{errors}"
      else
        return false
      end
      true
    end

    def move_away(target, aside)
      FileUtils.mkdir_p(aside, mode: 0o700)
      FileUtils.mv(Dir.children(target).map { |name| File.join(target, name) }, aside)
    rescue Errno::EACCES
      refuse(target, "GitLab cannot move the existing files: permission denied for `#{target}`.")
    rescue Errno::EBUSY
      refuse(target, "The directory cannot be moved: perhaps `#{target}` is a mountpoint?")
    end

    def refuse(target, reason)
      raise <<~TEXT

        ### NOTICE ###
        As part of restore, the task tried to move existing content from #{target}.
        #{reason}
        ### NOTICE ###
      TEXT
    end
  end
end
