# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'

module Backup
  # Where the bundles of one repository lie in a backup; it has changed twice.
  class BundleLayout
    def self.for(root, repository)
      layout = MiniGitlab.since?(:backup_incremental) ? NumberedBundles : BundleLayout
      layout.new(File.join(root, 'repositories'), repository)
    end

    def initialize(folder, repository)
      @folder = folder
      @repository = repository
    end

    # Up to 14.9: one bundle, beside it the references.
    def add(_chain)
      FileUtils.mkdir_p(File.dirname(base))
      @repository.bundle("#{base}.bundle")
      File.write("#{base}.refs", @repository.refs)
      :completed
    end

    # The bundles to apply, oldest first, and the references of the last; nothing where there is no backup.
    def latest
      [["#{base}.bundle"], File.read("#{base}.refs")] if File.exist?("#{base}.bundle")
    end

    private

    def base
      File.join(@folder, @repository.disk_path)
    end
  end

  # A folder for each backup, in it a numbered bundle for each increment; LATEST names the newest of both.
  class NumberedBundles < BundleLayout
    def add(name)
      chain = File.join(base, name)
      FileUtils.mkdir_p(chain)
      number = format('%03d', Dir[File.join(chain, '*.refs')].size + 1)
      before = Dir[File.join(chain, '*.refs')].max
      @repository.bundle(File.join(chain, "#{number}.bundle"), before ? File.read(before) : '')
      File.write(File.join(chain, "#{number}.refs"), @repository.refs)
      File.write(File.join(chain, 'LATEST'), number)
      File.write(File.join(base, 'LATEST'), name)
      write_manifest(chain, name) if MiniGitlab.since?(:backup_manifests)
      :completed
    end

    def latest
      return unless File.exist?(File.join(base, 'LATEST'))

      chain = File.join(base, File.read(File.join(base, 'LATEST')).strip)
      bundles = Dir[File.join(chain, '*.bundle')].sort
      [bundles, File.read(Dir[File.join(chain, '*.refs')].max)] if bundles.any?
    end

    private

    # Newer versions put the storage's name first.
    def base
      MiniGitlab.since?(:backup_manifests) ? File.join(@folder, 'default', @repository.disk_path) : super
    end

    def write_manifest(chain, name)
      steps = Dir[File.join(chain, '*.refs')].sort.map do |refs|
        inside = refs.delete_prefix("#{@folder}/")
        "[[steps]]\nbundle_path = '#{inside.sub(/refs\z/, 'bundle')}'\nref_path = '#{inside}'\n"
      end
      target = File.join(@folder, 'manifests/default', @repository.relative_path)
      FileUtils.mkdir_p(target)
      %W[#{name} +latest].each { |file| File.write(File.join(target, "#{file}.toml"), "object_format = 'sha1'\n\n#{steps.join("\n")}") }
    end
  end
end
