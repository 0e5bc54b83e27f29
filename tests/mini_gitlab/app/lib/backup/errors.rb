# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Backup
  Error = Class.new(StandardError)

  # A part that failed; the run goes on with the next one.
  PartError = Class.new(Error)

  # What git said when it failed.
  GitError = Class.new(StandardError)

  # The files of one part could not be packed.
  class FileBackupError < PartError
    def initialize(folder, tarball)
      super("Failed to create compressed file '#{tarball}' when trying to backup the following paths: '#{folder}' ")
    end
  end

  # A database could not be dumped. GitLab says "main" of each of them.
  class DatabaseBackupError < PartError
    def initialize(settings, dump)
      place = %i[host port database].map { |name| "\n - #{name}: '#{settings[name]}'" }.join
      super("Failed to create compressed file '#{dump}' when trying to backup the main database:#{place}")
    end
  end
end
