# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    # Gitlab::Database::Migration[2.1]: what a migration file of that generation
    # inherits from. Files older than 14.5 inherit from ActiveRecord's class.
    module Migration
      class V1_0 < ActiveRecord::Migration[6.1] # rubocop:disable Naming/ClassAndModuleCamelCase
        include MigrationHelpers
      end

      # Since 15.0 every line begins with the name of the database, and a
      # migration may belong to the schemas of one database only.
      class V2_0 < V1_0 # rubocop:disable Naming/ClassAndModuleCamelCase
        def self.restrict_gitlab_migration(gitlab_schema:)
          @restricted_to = gitlab_schema
        end

        def self.restricted_to
          @restricted_to
        end

        def exec_migration(connection, direction)
          return super unless skipped_here?

          say "The migration is skipped since it modifies the schemas: [:#{self.class.restricted_to}]."
          say "This database can only apply migrations in one of the following schemas: #{schemas_here}."
        end

        def write(text = '')
          super(text.present? ? "#{database_name}: #{text}" : text)
        end

        private

        def database_name
          ActiveRecord::Base.connection_db_config.name
        end

        def schemas_here
          Gitlab::Database.gitlab_schemas_for_connection(ActiveRecord::Base.connection)
        end

        def skipped_here?
          self.class.restricted_to && !schemas_here.include?(self.class.restricted_to)
        end
      end

      GENERATIONS = { 1.0 => V1_0, 2.0 => V2_0, 2.1 => V2_0, 2.2 => V2_0, 2.3 => V2_0 }.freeze

      def self.[](generation)
        GENERATIONS.fetch(generation)
      end
    end
  end
end
