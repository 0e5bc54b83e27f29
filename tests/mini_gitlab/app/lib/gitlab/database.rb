# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  # Which databases there are, and which schemas live in which of them.
  module Database
    MAIN_SCHEMAS = %i[
      gitlab_main gitlab_main_org gitlab_main_cell gitlab_main_cell_local gitlab_main_cell_setting gitlab_main_clusterwide gitlab_main_user gitlab_pm
    ].freeze
    CI_SCHEMAS = %i[gitlab_ci gitlab_ci_cell_local].freeze
    SHARED_SCHEMAS = %i[gitlab_internal gitlab_shared].freeze

    class << self
      # @return [Array] all configurations, also those that share a database
      def db_configs
        ActiveRecord::Base.configurations.configs_for(env_name: Rails.env, include_hidden: true)
      end

      def configured?(name)
        db_configs.any? { |config| config.name == name }
      end

      # @return [Hash] name of the connection => the class that holds it
      def base_models
        @base_models ||= begin
          models = { 'main' => ActiveRecord::Base }
          models['ci'] = ::Ci::ApplicationRecord if configured?('ci')
          models.with_indifferent_access
        end
      end
      alias database_base_models base_models if MiniGitlab.since?(:several_connections)

      # The databases that have tasks of their own, in order.
      def database_names_with_tasks
        db_configs.select { |config| MiniGitlab.database_tasks?(config) }.map(&:name)
      end

      def several_databases?
        database_names_with_tasks.many?
      end

      # @return [String, nil] the connection whose database this one uses
      def db_config_share_with(db_config)
        'main' unless MiniGitlab.database_tasks?(db_config)
      end

      def db_config_name(connection)
        connection.pool.db_config.name
      end

      def gitlab_schemas_for_connection(connection)
        SHARED_SCHEMAS + schemas_of(db_config_name(connection))
      end

      private

      def schemas_of(name)
        return CI_SCHEMAS if name == 'ci'

        database_names_with_tasks.include?('ci') ? MAIN_SCHEMAS : MAIN_SCHEMAS + CI_SCHEMAS
      end
    end
  end
end
