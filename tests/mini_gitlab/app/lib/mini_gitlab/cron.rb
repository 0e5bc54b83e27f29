# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require_relative 'sidekiq_messages'

module MiniGitlab
  # In Sidekiq's place: starts the workers of all databases every cycle.
  class Cron
    WORKERS = %w[Database::BatchedBackgroundMigrationWorker Database::BatchedBackgroundMigration::CiDatabaseWorker].freeze
    Shutdown = Class.new(Interrupt)

    def initialize(seconds)
      @seconds = seconds
      @stopping = false
    end

    # Returns after TERM or INT. A job that is running then fails, as one does
    # that Sidekiq shuts down; its row says so.
    def run
      main = Thread.current
      %w[TERM INT].each do |signal|
        trap(signal) do
          @stopping = true
          main.raise(Shutdown)
        end
      end
      log("Booted mini GitLab #{VersionBehaviour.version}, a cycle every #{@seconds} s")
      cycle_and_sleep until @stopping
    rescue Shutdown
      nil
    ensure
      log('Bye!')
    end

    private

    def cycle_and_sleep
      WORKERS.each { |name| guarded(name) { name.constantize.new.perform } }
      guarded('BackgroundMigrationWorker') { SidekiqMessages.new.work }
      # The exception can come while something is cleaned up that swallows it.
      sleep(@seconds) unless @stopping
    end

    # Whatever happens in a job or to the database, the next cycle comes.
    def guarded(name)
      yield
    rescue StandardError, NotImplementedError => error
      log("#{name}: #{error.class}: #{error.message.lines.first&.chomp}")
      ActiveRecord::Base.clear_all_connections!
    end

    def log(text)
      puts "#{Time.now.utc.iso8601(3)} pid=#{Process.pid} #{text}"
      $stdout.flush
    end
  end
end
