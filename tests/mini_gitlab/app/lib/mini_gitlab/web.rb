# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'json'
require 'rack'

module MiniGitlab
  # The web server's answers: GitLab's health pages, and one page that reads
  # and writes a row.
  class Web
    MAINTENANCE = 'GitLab Maintenance: system is in maintenance mode'
    CHECKS = %w[cache queues rate_limiting sessions shared_state trace_chunks redis].freeze
    JSON_TYPE = 'application/json; charset=utf-8'

    def call(env)
      request = Rack::Request.new(env)
      case [request.request_method, request.path]
      when ['GET', '/-/health'] then text(200, 'GitLab OK')
      when ['GET', '/-/liveness'] then json(200, status: 'ok')
      when ['GET', '/-/readiness'] then readiness(request.params.key?('all'))
      when ['GET', '/'] then with_database { page }
      when ['POST', '/probe'] then with_database { probe(request) }
      else text(404, 'Not Found')
      end
    rescue ActiveRecord::ActiveRecordError, PG::Error => error
      text(500, "#{error.class}: #{error.message.lines.first&.chomp}")
    ensure
      ActiveRecord::Base.clear_active_connections!
    end

    private

    def text(status, body)
      [status, { 'content-type' => 'text/plain; charset=utf-8' }, [body]]
    end

    def json(status, body)
      [status, { 'content-type' => JSON_TYPE }, [JSON.generate(body)]]
    end

    # A connection that died with a restarted database is opened anew.
    def with_database
      ActiveRecord::Base.connection.verify!
      yield
    end

    def readiness(all)
      checks = { master_check: [{ status: 'ok' }] }
      checks.merge!(every_check) if all
      failed = checks.values.flatten.any? { |check| check[:status] != 'ok' }
      json(failed ? 503 : 200, { status: failed ? 'failed' : 'ok' }.merge(checks))
    end

    def every_check
      redis = check { Gitlab::ExclusiveLease.redis&.ping }
      checks = { db_check: [check { with_database { ActiveRecord::Base.connection.select_value('SELECT 1') } }] }
      CHECKS.each { |name| checks[:"#{name}_check"] = [redis] }
      checks.merge(gitaly_check: [{ status: 'ok', labels: { shard: 'default' } }])
    end

    def check
      yield
      { status: 'ok' }
    rescue StandardError => error
      { status: 'failed', message: "unexpected #{error.class}" }
    end

    def page
      users = ActiveRecord::Base.connection.select_value('SELECT count(*) FROM users')
      text(200, "mini GitLab #{VersionBehaviour.version}, #{users} users\n")
    end

    # Writes one project name and reads it back.
    def probe(request)
      return json(503, message: MAINTENANCE) if Gitlab::CurrentSettings.maintenance_mode

      name = request.params.fetch('note', 'probe')
      id = Project.create!(name: name, path: 'probe').id
      json(201, id: id, note: Project.find(id).name)
    end
  end
end
