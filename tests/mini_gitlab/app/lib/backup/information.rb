# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'yaml'

module Backup
  # backup_information.yml: what a backup knows of itself. YAML with symbols as keys and without the line of dashes.
  class Information
    FILE = 'backup_information.yml'
    CLASSES = [Symbol, Time, ActiveSupport::TimeWithZone, ActiveSupport::TimeZone].freeze

    attr_reader :values

    def self.load(folder)
      new(YAML.safe_load(File.read(File.join(folder, FILE)), permitted_classes: CLASSES, aliases: true))
    end

    # previous: the backup that this one adds to.
    def self.build(options, previous = nil)
      now = MiniGitlab.since?(:backup_plain_times) ? Time.current.utc : Time.current
      now = Time.now unless MiniGitlab.since?(:backup_stamped_lines)
      values = {
        db_version: ActiveRecord::Migrator.current_version.to_s,
        backup_created_at: now,
        gitlab_version: Gitlab::VERSION,
        tar_version: `tar --version`.lines.first.chomp,
        installation_type: 'omnibus-gitlab',
        skipped: text_of(options, :skipped)
      }
      values.merge!(choice_of_repositories(options)) if MiniGitlab.since?(:backup_chooses_repositories)
      values[:full_backup_id] = previous&.first_of_chain(options) if previous || MiniGitlab.since?(:backup_chooses_servers)
      values[:backup_id] = id_for(options, values) if MiniGitlab.since?(:backup_records_id)
      new(values)
    end

    # Newer versions write an empty text where older ones write nothing.
    def self.text_of(options, name)
      MiniGitlab.since?(:backup_chooses_servers) ? options.list(name).join(',') : options.given(name)
    end

    def self.choice_of_repositories(options)
      names = %i[repositories_storages repositories_paths]
      return names.to_h { |name| [name, text_of(options, name)] } unless MiniGitlab.since?(:backup_chooses_servers)

      [*names, :skip_repositories_paths].to_h { |name| [name, text_of(options, name)] }.merge(repositories_server_side: options.server_side?)
    end

    def self.id_for(options, values)
      return File.basename(options.backup_id) if options.backup_id && !options.incremental?

      "#{values[:backup_created_at].strftime('%s_%Y_%m_%d_')}#{values[:gitlab_version]}"
    end

    private_class_method :text_of, :choice_of_repositories

    def initialize(values)
      @values = values
    end

    def [](name)
      @values[name]
    end

    def id(options)
      self[:backup_id].presence || self.class.id_for(options, @values)
    end

    # The full backup that incremental ones add to; a full one begins a chain of its own.
    def first_of_chain(options)
      self[:full_backup_id].presence || (options.incremental? && options.previous_backup && File.basename(options.previous_backup)) || id(options)
    end

    def save(folder)
      File.write(File.join(folder, FILE), @values.to_yaml.sub(/\A---\n/, ''))
    end
  end
end
