# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'digest'
require 'fileutils'
require 'open3'

module Backup
  # The bare repository of a project, where GitLab keeps it: below the hash of the project's number.
  class Repository
    attr_reader :project

    def self.all(root)
      connection = ActiveRecord::Base.connection
      connection.select_rows(<<~SQL).map { |id, project| new(root, id, project) }
        SELECT p.id, coalesce(n.path || '/', '') || p.path FROM projects p LEFT JOIN namespaces n ON n.id = p.namespace_id ORDER BY p.id
      SQL
    end

    def initialize(root, id, project)
      @root = root
      @project = project
      @hash = Digest::SHA256.hexdigest(id.to_s)
    end

    def relative_path
      "#{disk_path}.git"
    end

    def disk_path
      "@hashed/#{@hash[0, 2]}/#{@hash[2, 2]}/#{@hash}"
    end

    def path
      File.join(@root, relative_path)
    end

    def exist?
      File.directory?(path)
    end

    def remove
      FileUtils.rm_rf(path)
    end

    # paths: of groups or projects
    def below?(paths)
      paths.any? { |path| project == path || project.start_with?("#{path}/") }
    end

    def refs
      git('for-each-ref', '--format=%(objectname) %(refname)')
    end

    # since: references of the backup before. Without new commits there is no bundle.
    def bundle(file, since = '')
      known = since.lines.map { |line| "^#{line.split.first}" }
      return if git('rev-list', '--max-count=1', '--all', *known).empty?

      git('bundle', 'create', '--quiet', file, '--all', *known)
    end

    def restore(bundles, refs)
      first, *others = bundles
      FileUtils.mkdir_p(File.dirname(path))
      run('git', 'clone', '--quiet', '--mirror', first, path)
      git('config', '--remove-section', 'remote.origin')
      others.each { |bundle| git('fetch', '--quiet', '--force', bundle, '+refs/*:refs/*') }
      File.write(File.join(path, 'packed-refs'), '') unless File.exist?(File.join(path, 'packed-refs'))
      refs&.each_line { |line| git('update-ref', *line.split.reverse) }
      :completed
    end

    private

    def git(*arguments)
      run('git', '-C', path, *arguments)
    end

    def run(*command)
      output, errors, status = Open3.capture3(*command)
      raise GitError, errors.strip unless status.success?

      output
    end
  end
end
