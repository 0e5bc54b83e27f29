# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'digest'
require 'fileutils'
require 'open3'

module MiniGitlab
  # Projects with everything that a project keeps on disk, the same bytes each time. For the test bed only.
  module SeedData
    # name of the part, where its file lies: a format with the project's number
    FILES = {
      'uploads' => '-/system/project/avatar/%d/avatar.png',
      'builds' => '2024_01/%d/trace.log',
      'artifacts' => '%d/artifacts.zip',
      'pages' => '@hashed/%d/pages_deployments/1/artifacts.zip',
      'lfs' => '%d/object',
      'terraform_state' => '%d/1.tfstate',
      'registry' => 'docker/registry/v2/repositories/project-%d/_layers/link',
      'packages' => '%d/files/1/package.tgz',
      'ci_secure_files' => '%d/secure_files/1/file.jks',
      'external_diffs' => 'merge_request_diffs/mr-%d/diff-1'
    }.freeze
    COMMITS = 3
    SINCE_EPOCH = 1_700_000_000

    module_function

    # Adds projects; answers their numbers.
    def add(count)
      connection = ActiveRecord::Base.connection
      group = connection.select_value("INSERT INTO namespaces (name, path) VALUES ('seeded', 'seeded') RETURNING id")
      count.times.map do
        id = connection.select_value("INSERT INTO projects (name, path, namespace_id) VALUES ('seeded', 'seeded', #{group}) RETURNING id")
        connection.execute("UPDATE projects SET name = 'seeded #{id}', path = 'seeded-#{id}' WHERE id = #{id}")
        write_files(id)
        make_repository(id)
        id
      end
    end

    def folders
      Backup::Parts::FILES.to_h { |name, _title, place| [name, Backup::Parts.folder(name, place)] }.select { |_, path| File.directory?(path) }
    end

    def write_files(id)
      folders.each do |part, folder|
        file = File.join(folder, format(FILES.fetch(part), id))
        FileUtils.mkdir_p(File.dirname(file))
        File.binwrite(file, Digest::SHA256.digest("#{part} #{id}") * 64)
      end
    end

    def make_repository(id)
      repository = repositories.find { |candidate| candidate.project.end_with?("seeded-#{id}") }
      FileUtils.mkdir_p(repository.path)
      run('git', 'init', '--quiet', '--bare', '--initial-branch=main', repository.path)
      run('git', '-C', repository.path, 'fast-import', '--quiet', stdin_data: history(id))
      run('git', '-C', repository.path, 'tag', 'v1', 'main')
    end

    # In the language of git fast-import.
    def history(id)
      (1..COMMITS).map do |number|
        content = "project #{id}, commit #{number}\n" * 20
        who = "Seed <seed@example.com> #{SINCE_EPOCH + number} +0000"
        "commit refs/heads/main\ncommitter #{who}\ndata 7\nchange\n\nM 644 inline file-#{number}.txt\ndata #{content.bytesize}\n#{content}\n"
      end.join
    end

    # One line for each part and table: what, how many, and a digest of the content alone, however it is packed.
    def digest
      files = folders.map { |part, folder| "#{part} #{digest_of_files(folder)}" }
      ["repositories #{digest_of_repositories}", *files, *digests_of_tables].sort
    end

    def digest_of_files(folder)
      names = Dir.glob('**/*', File::FNM_DOTMATCH, base: folder).select { |name| File.file?(File.join(folder, name)) }.sort
      counted(names.map { |name| "#{name} #{Digest::SHA256.file(File.join(folder, name)).hexdigest}" })
    end

    def digest_of_repositories
      counted(repositories.select(&:exist?).map do |repository|
        objects = run('git', '-C', repository.path, 'rev-list', '--objects', '--all').lines.sort.join
        head = run('git', '-C', repository.path, 'symbolic-ref', 'HEAD')
        [repository.relative_path, head, repository.refs, objects].join("\n")
      end)
    end

    def digests_of_tables
      Gitlab::Database.database_names_with_tasks.flat_map do |name|
        connection = Gitlab::Database.base_models.fetch(name).connection
        connection.tables.sort.map do |table|
          quoted = connection.quote_table_name(table)
          text = "coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '')"
          "table #{name}.#{table} #{connection.select_rows("SELECT count(*), #{text} FROM #{quoted} t").first.join(' ')}".strip
        end
      end
    end

    def counted(lines)
      "#{lines.size} #{Digest::SHA256.hexdigest(lines.join("\n"))}"
    end

    def repositories
      Backup::Repository.all(Gitlab.config.dig('repositories', 'storages', 'default', 'path'))
    end

    def run(*command, **options)
      output, errors, status = Open3.capture3(*command, **options)
      raise errors unless status.success?

      output
    end
  end
end
