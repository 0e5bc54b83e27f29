# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Backup
  # One kind of data in a backup.
  #
  # name: as in SKIP; title: as in the output; destination: its member of the archive; leftover: what is removed once it is packed.
  Part = Struct.new(:name, :title, :destination, :leftover, :enabled, :optional, :store, keyword_init: true)

  # The parts that a version knows, in its order, with where their data lies.
  module Parts
    # name, title, place in gitlab.yml, folders inside that are left out, since
    FILES = [
      ['uploads', 'uploads', %w[uploads storage_path], %w[tmp], nil],
      ['builds', 'builds', %w[gitlab_ci builds_path], [], nil],
      ['artifacts', 'artifacts', %w[artifacts path], %w[tmp], nil],
      ['pages', 'pages', %w[pages path], %w[@pages.tmp], nil],
      ['lfs', 'lfs objects', %w[lfs storage_path], [], nil],
      ['terraform_state', 'terraform states', %w[terraform_state storage_path], %w[tmp], :backup_of_packages],
      ['registry', 'container registry images', %w[registry path], [], nil],
      ['packages', 'packages', %w[packages storage_path], %w[tmp], :backup_of_packages],
      ['ci_secure_files', 'ci secure files', %w[ci_secure_files storage_path], %w[tmp], :backup_of_secure_files],
      ['external_diffs', 'external diffs', %w[external_diffs storage_path], %w[tmp], :backup_of_external_diffs]
    ].freeze

    module_function

    def all(progress, options)
      [*databases(progress, options), repositories(progress, options), *files(options)]
    end

    def databases(progress, options)
      names = Gitlab::Database.db_configs.map(&:name)
      return [database(progress, options, names, 'database', 'db', true)] unless part_for_each_database?

      %w[main ci].map do |name|
        enabled = Gitlab::Database.database_names_with_tasks.include?(name)
        database(progress, options, [name], "#{name}_database", DatabaseStore.file(name), enabled)
      end
    end

    def part_for_each_database?
      MiniGitlab.since?(:backup_part_for_each_database) && !MiniGitlab.since?(:backup_one_part_for_databases)
    end

    def database(progress, options, names, title, destination, enabled)
      Part.new(name: 'db', title: title, destination: destination, leftover: 'db', enabled: enabled,
               store: DatabaseStore.new(progress, options, names))
    end

    def repositories(progress, options)
      Part.new(name: 'repositories', title: 'repositories', destination: 'repositories', leftover: 'repositories', enabled: true,
               optional: true, store: RepositoryStore.new(progress, options))
    end

    def files(options)
      FILES.filter_map do |name, title, place, excluded, since|
        next if since && !MiniGitlab.since?(since)

        enabled = name != 'registry' || Gitlab.config.dig('registry', 'enabled')
        tarball = "#{name}.tar.gz"
        Part.new(name: name, title: title, destination: tarball, leftover: tarball, enabled: enabled,
                 store: FileStore.new(folder(name, place), tarball, excluded, options))
      end
    end

    # Uploads lie one folder below what the configuration names.
    def folder(name, place)
      path = Gitlab.config.dig(*place)
      name == 'uploads' ? File.join(path, 'uploads') : path
    end
  end
end
