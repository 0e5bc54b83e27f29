# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module MiniGitlab
  # The short form of gitlab:check: what the database and services say.
  module Check
    module_function

    def run
      puts "Checking GitLab subtasks ...\n\n"
      section('Sidekiq') { puts "Sidekiq: ... Running? ... #{sidekiq? ? 'yes' : 'no'}" }
      section('GitLab App') { app }
      puts "\nChecking GitLab subtasks ... Finished\n\n"
    end

    def section(name)
      puts "Checking #{name} ...\n\n"
      yield
      puts "\nChecking #{name} ... Finished\n\n"
    end

    def sidekiq?
      Dir['/proc/[0-9]*/cmdline'].any? { |file| File.read(file).split("\0")[0..1].any? { |word| word.end_with?('bin/sidekiq') } rescue false }
    end

    def app
      puts 'Database config exists? ... yes'
      puts "All migrations up? ... #{pending? ? 'no' : 'yes'}"
      if pending?
        puts '  Try fixing it:'
        puts '  sudo -u git -H bundle exec rake db:migrate RAILS_ENV=production'
        puts '  Please fix the error above and rerun the checks.'
      end
      puts 'GitLab config exists? ... yes'
    end

    def pending?
      Gitlab::Database.database_names_with_tasks.any? do |name|
        Gitlab::Database.base_models.fetch(name).connection.migration_context.needs_migration?
      end
    end
  end
end

namespace :gitlab do
  desc 'Check the configuration of GitLab and its environment'
  task(check: :environment) { MiniGitlab::Check.run }
end
