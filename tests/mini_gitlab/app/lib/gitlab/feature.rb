# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'flipper'
require 'flipper/adapters/active_record'

# Feature flags on Flipper's own tables.
class Feature
  # What GitLab's definitions give when nothing is stored.
  DEFAULTS = {
    'execute_batched_migrations_on_schedule' => true,
    'optimize_batched_migrations' => true,
    'batched_migrations_parallel_execution' => true,
    'disallow_database_ddl_feature_flags' => false
  }.freeze

  class << self
    def enabled?(key, _actor = nil, **)
      persisted_name?(key) ? flipper.enabled?(key) : DEFAULTS.fetch(key.to_s, false)
    end

    def disabled?(key, *arguments, **options)
      !enabled?(key, *arguments, **options)
    end

    def enable(key, _actor = true)
      flipper.enable(key)
    end

    def disable(key, _actor = false)
      flipper.disable(key)
    end

    def remove(key)
      flipper.remove(key)
    end

    def persisted_names
      flipper.adapter.features
    end

    def persisted_name?(key)
      persisted_names.include?(key.to_s)
    end

    private

    def flipper
      @flipper ||= Flipper.new(
        Flipper::Adapters::ActiveRecord.new(feature_class: FlipperFeature, gate_class: FlipperGate)
      )
    end
  end

  class FlipperFeature < ApplicationRecord
    self.table_name = 'features'
  end

  class FlipperGate < ApplicationRecord
    self.table_name = 'feature_gates'
  end
end
