# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Backup
  # The file that keeps two backups or restores from running at once.
  class Lock
    FILE = File.join(MiniGitlab::ROOT, 'tmp/backup_restore.pid')

    def initialize(progress)
      @progress = progress
    end

    def hold
      return yield unless MiniGitlab.since?(:backup_lock)

      take
      begin
        yield
      ensure
        place = MiniGitlab.since?(:backup_logs_databases) ? " at [#{FILE}]" : ''
        @progress.line("Deleting backup and restore PID file#{place} ... done")
        File.delete(FILE)
      end
    end

    private

    def take
      File.open(FILE, File::RDWR | File::CREAT) do |file|
        file.flock(File::LOCK_EX)
        pid = file.read.strip
        refuse(pid) unless pid.empty? || left_behind?(pid)
        file.rewind
        file.truncate(0)
        file.write(Process.pid)
      end
    end

    # The first form of the lock did not look whether the process is still there.
    def left_behind?(pid)
      return false unless MiniGitlab.since?(:backup_lock_looks_for_process)

      Process.getpgid(pid.to_i)
      false
    rescue Errno::ESRCH
      @progress.plain("The PID file #{FILE} exists and contains #{pid}, but the process is not running.")
      @progress.plain("The PID file will be rewritten with the current process ID #{Process.pid}.")
      true
    end

    def refuse(pid)
      @progress.plain('Backup and restore in progress:')
      if MiniGitlab.since?(:backup_lock_looks_for_process)
        @progress.plain("  There is a backup and restore task in progress (PID #{pid}).")
        @progress.plain('  Try to run the current task once the previous one ends.')
      else
        @progress.plain('  There is a backup and restore task in progress. Please, try to run the current task once the previous one ends.')
        @progress.plain("  If there is no other process running, please remove the PID file manually: rm #{FILE}")
      end
      exit 1
    end
  end
end
