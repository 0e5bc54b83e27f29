# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'yaml'
require 'pathname'

# What Rails' own database tasks and GitLab's console snippets ask of Rails.
module Rails
  class << self
    def env
      @env ||= ActiveSupport::StringInquirer.new(ENV['RAILS_ENV'] || 'production')
    end

    attr_writer :env

    def root
      @root ||= Pathname.new(MiniGitlab::ROOT)
    end

    def application
      @application ||= Application.new
    end

    def logger
      Gitlab::AppLogger
    end
  end

  class Application
    def config
      self
    end

    def load_database_yaml
      @load_database_yaml ||= MiniGitlab::DatabaseYml.load
    end

    # As in Rails, whatever is wrapped in it has the query cache on and gives its connections back.
    def executor
      @executor ||= Class.new(ActiveSupport::Executor) { |executor| ActiveRecord::QueryCache.install_executor_hooks(executor) }
    end

    def paths
      { 'db/migrate' => MiniGitlab.migrations_paths }
    end
  end
end
