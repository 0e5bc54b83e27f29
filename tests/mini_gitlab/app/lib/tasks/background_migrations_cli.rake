# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

namespace :gitlab do
  namespace :background_migrations do
    cli = lambda do
      require_relative '../mini_gitlab/background_migration_cli'
      MiniGitlab::BackgroundMigrationCli.new
    end

    if MiniGitlab.since?(:command_line)
      desc 'List background migrations'
      task(list: :environment) { cli.call.list }

      { show: 'Show', pause: 'Pause', resume: 'Resume' }.each do |name, verb|
        desc "#{verb} a background migration"
        task(name, [:id] => :environment) { |_task, arguments| cli.call.public_send(name, arguments[:id]) }
      end
    end

    if MiniGitlab.since?(:execute_tasks)
      desc 'Execute a background migration'
      task(:execute, [:id] => :environment) { |_task, arguments| cli.call.execute(arguments[:id]) }

      desc 'Execute all unfinished background migrations'
      task(execute_all: :environment) { cli.call.execute_all }
    end
  end
end
