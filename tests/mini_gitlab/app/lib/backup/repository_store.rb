# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'
require 'json'

module Backup
  # The repositories of all projects, as bundles made by git. Which there are, the database says.
  class RepositoryStore
    def initialize(progress, options)
      @progress = progress
      @options = options
      @root = Gitlab.config.fetch('repositories').fetch('storages').fetch('default').fetch('path')
    end

    def dump(root, information)
      FileUtils.mkdir_p(File.join(root, 'repositories'), mode: 0o700)
      each_chosen('create') do |repository|
        raise GitError, 'server-side create: server-side backups are not configured' if @options.server_side?

        repository.exist? ? BundleLayout.for(root, repository).add(information.first_of_chain(@options)) : :skipped
      end
    end

    # From 14.10 on what no longer belongs to a project goes away too.
    def restore(root)
      everything = %i[repositories_storages repositories_paths skip_repositories_paths].all? { |name| @options.list(name).empty? }
      FileUtils.rm_rf(File.join(@root, '@hashed')) if everything && MiniGitlab.since?(:backup_stamped_lines)
      each_chosen('restore') do |repository|
        repository.remove
        bundles, refs = BundleLayout.for(root, repository).latest
        bundles ? repository.restore(bundles, refs) : :skipped
      end
    rescue Error => error
      raise unless MiniGitlab.since?(:backup_restores_on)

      @progress.line(error.message)
    end

    def warning_before; end

    def warning_after; end

    private

    def each_chosen(command, &action)
      failed = chosen.map { |repository| report(command, repository, &action) }.count(:failed)
      raise Error, 'gitaly-backup exit status 1' if failed.positive? && MiniGitlab.since?(:backup_gitaly_program)
    end

    def chosen
      wanted = @options.list(:repositories_paths)
      unwanted = @options.list(:skip_repositories_paths)
      Repository.all(@root).select do |repository|
        (wanted.empty? || repository.below?(wanted)) && !repository.below?(unwanted)
      end
    end

    # The program gitaly-backup writes JSON lines; before it, GitLab wrote a line for each project.
    def report(command, repository)
      json = MiniGitlab.since?(:backup_gitaly_program)
      json ? log(command, repository, 'started') : print(" * #{repository.project} ... ")
      result = yield(repository) || :completed
      json ? log(command, repository, result.to_s) : puts(result == :skipped ? '[EMPTY] [SKIPPED]' : '[DONE]')
      result
    rescue GitError => error
      json ? log(command, repository, 'failed', error: error.message) : puts("[Failed]\nError: #{error.message}")
      :failed
    end

    def log(command, repository, event, **more)
      $stdout.flush
      level = { 'failed' => 'error', 'skipped' => 'warning' }.fetch(event, 'info')
      warn(JSON.generate({ command: command, gl_project_path: repository.project, level: level, msg: "#{event} #{command}",
                           relative_path: repository.relative_path, storage_name: 'default', time: Time.now.utc.iso8601(3), **more }))
    end
  end
end
