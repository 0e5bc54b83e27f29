# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'stringio'

module Backup
  # What a backup says from 14.10 on: each line has its time.
  class Progress
    def self.for(options)
      stream = options.quiet? ? StringIO.new : $stdout
      (MiniGitlab.since?(:backup_stamped_lines) ? Progress : UnstampedProgress).new(stream)
    end

    def initialize(stream)
      @stream = stream
    end

    def line(text)
      @stream.puts("#{Time.current} -- #{text}")
    end

    # Without time, but as quiet as the lines.
    def plain(text = '')
      @stream.puts(text)
    end

    def part_begins(verb, part)
      line("#{verb} #{part.title} ... ")
    end

    def part_ends(verb, part)
      line("#{verb} #{part.title} ... done")
    end

    def part_left_out(verb, part, reason)
      line("#{verb} #{part.title} ... [#{reason}]")
    end

    def part_failed(part, error)
      line("Dumping #{part.title} failed: #{error.message}")
    end

    def warning(text)
      line(text)
    end

    # The block answers how it went: true, or a text.
    def step(title)
      line("#{title} ... ")
      line("#{title} ... #{outcome(yield)}")
    end

    def left_out(title)
      line("#{title} ... [SKIPPED]")
    end

    # Yields each path to remove it.
    def removals(paths)
      line('Deleting tar staging files ... ')
      paths.each do |path|
        line("Cleaning up #{path}")
        yield path
      end
      line('Deleting tar staging files ... done')
    end

    def database_begins(verb, database)
      text = "#{verb} PostgreSQL database #{database} ... "
      MiniGitlab.since?(:backup_logs_databases) ? line(text) : @stream.print(text)
    end

    def database_ends(succeeded)
      text = succeeded ? '[DONE]' : '[FAILED]'
      MiniGitlab.since?(:backup_logs_databases) ? line(text) : plain(text)
    end

    def database_missing(name)
      text = "Source backup for the database #{name} doesn't exist. Skipping the task"
      MiniGitlab.since?(:backup_logs_databases) ? line(text) : plain(text)
    end

    def schema_errors(errors)
      text = "------ BEGIN ERRORS -----\n#{errors.join}------ END ERRORS -------"
      MiniGitlab.since?(:backup_logs_databases) ? text.each_line(chomp: true) { |each| line(each) } : plain(text)
    end

    def removing_tables
      text = 'Removing all tables. Press `Ctrl-C` within 5 seconds to abort'
      MiniGitlab.since?(:backup_logs_databases) ? line(text) : plain(text)
    end

    def cleaning
      line('Cleaning the database ... ')
      yield
      line('done')
    end

    # Why a backup does not fit: the one text that had no time until the databases got theirs too.
    def mismatch(text)
      return plain(text) unless MiniGitlab.since?(:backup_logs_databases)

      line(text)
    end

    private

    def outcome(result)
      result == true ? 'done' : result
    end
  end

  # Up to 14.9: times only where a part begins and ends.
  class UnstampedProgress < Progress
    def line(text)
      @stream.puts("#{Time.now} -- #{text}")
    end

    def part_ends(_verb, _part)
      line('done')
    end

    def part_left_out(verb, part, reason)
      part_begins(verb, part)
      line("[#{reason}]")
    end

    def part_failed(_part, error)
      plain(error.message)
    end

    def warning(text)
      plain(text)
    end

    def step(title)
      @stream.print("#{title} ... ")
      plain(outcome(yield))
    end

    def left_out(title)
      plain("#{title} ... #{title.start_with?('Uploading') ? 'skipped' : 'skipping'}")
    end

    # One word for each, and not even a line's end where there is nothing.
    def removals(paths)
      @stream.print('Deleting tmp directories ... ')
      paths.each do |path|
        yield path
        plain('done')
      end
    end
  end
end
