# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

# What FINALIZE_MANY calls of Rails and of GitLab's engine before 14.4: one database, no base models, no SharedModel, and a
# finalize that knows no connection. It writes down what runs when.

module Arel
  def self.sql(text) = text
end

module Rails
  def self.application = self
  def self.executor = self
  def self.wrap = yield
end

module ActiveRecord
  class Base
    Pool = Struct.new(:size)

    def self.connection_pool = Pool.new(Integer(ENV.fetch('POOL')))
  end
end

module Gitlab
  module Database
    module BackgroundMigration
      class BatchedMigration
        COLUMNS = %w[job_class_name table_name column_name job_arguments].freeze
        STATUSES = Hash.new(1).merge(60 => 6)

        attr_reader :id, *COLUMNS

        class << self
          # Ten ids share a table. Row 60 is finalized, row 70 was removed, row 80 is another one by now.
          def find_by(id:) = id == 70 ? nil : new(id)
          def where(id:) = new(id)
          def lock = self
          def connection = Connection
        end

        def initialize(id)
          @id = id
          @job_class_name = id == 80 ? 'Other' : "Job#{id}"
          @table_name = "t#{id / 10}"
          @column_name = 'id'
          @job_arguments = []
        end

        def [](name) = public_send(name)
        def pick(_expression) = STATUSES[id]
      end

      module Connection
        module_function

        def disable_query_cache! = nil
        def quote(text) = "'#{text}'"
        def execute(sql) = sql
      end

      class BatchedMigrationRunner
        LOCK = Mutex.new

        def self.finalize(job_class_name, _table_name, _column_name, _job_arguments)
          note('begin', job_class_name)
          sleep(0.2)
          raise NotImplementedError, "\xFFnot here" if job_class_name == 'Job50'

          sleep(60) if ENV['HANG']
        rescue SignalException
          note('given back', job_class_name)
          raise
        ensure
          note('end', job_class_name)
        end

        def self.note(*words) = LOCK.synchronize { warn(words.join(' ')) }
      end
    end
  end
end
