# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # What the model can do since 16 and could not in 15.
      module NewerMethods
        extend ActiveSupport::Concern

        included do
          scope :finalizing, -> { where(status: MigrationStates::VALUES[:finalizing]) }
          scope :unfinished, -> { where.not(status: MigrationStates::VALUES.values_at(:finished, :finalized)) }
          scope :ordered_by_created_at_desc, -> { order(created_at: :desc) }
        end

        class_methods do
          # One per table, so that two never work on the same one.
          def active_migrations_distinct_on_table(connection:, limit:)
            ids = executable_in(connection).unscope(:order).select('MIN(id)').group(:table_name)
            where(id: ids).queue_order.limit(limit)
          end

          def find_executable(id, connection:)
            executable_in(connection).find_by(id: id)
          end
        end

        # Cursor based jobs are newer than what the test bed plays.
        def cursor?
          job_class.respond_to?(:cursor?) && job_class.cursor?
        end

        def on_hold?
          has_attribute?(:on_hold_until) && on_hold_until.present? && on_hold_until > Time.current
        end

        def reset_attempts_of_blocked_jobs!
          batched_jobs.blocked_by_max_attempts.update_all(attempts: 0)
        end

        # @return [Float, nil] percent
        def progress
          return 100 if %w[finished finalized].include?(status_word)
          return if total_tuple_count.to_i.zero?

          100 * migrated_tuple_count.fdiv(total_tuple_count)
        end

        def finalize_command
          arguments = job_arguments.to_json.gsub(',', '\,')
          "sudo gitlab-rake gitlab:background_migrations:finalize[#{job_class_name},#{table_name},#{column_name},'#{arguments}']"
        end
      end
    end
  end
end
