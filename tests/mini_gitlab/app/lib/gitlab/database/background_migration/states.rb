# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module BackgroundMigration
      # The statuses of a migration: an enum before 14.10, a state machine since.
      module MigrationStates
        VALUES = { paused: 0, active: 1, finished: 3, failed: 4, finalizing: 5, finalized: 6 }.freeze
        TRANSITIONS = {
          pause: [%i[active paused], :paused],
          execute: [%i[active paused failed], :active],
          finish: [%i[paused finished active finalizing], :finished],
          failure: [%i[failed finalizing active], :failed],
          finalize: [%i[paused active finished failed finalizing finalized], :finalizing]
        }.freeze

        def self.values
          VALUES.reject do |name, _|
            (name == :finalizing && !MiniGitlab.since?(:finalizing_status)) || (name == :finalized && !MiniGitlab.since?(:finalized_status))
          end
        end

        def self.included(model)
          MiniGitlab.since?(:state_machines) ? define_machine(model) : model.enum(status: values)
        end

        def self.define_machine(model)
          require 'state_machines-activerecord'
          known = values
          model.state_machine :status, initial: :paused do
            known.each { |name, value| state name, value: value }
            TRANSITIONS.each do |name, (from, to)|
              sources = MiniGitlab.since?(:restricted_transitions) ? from & known.keys : known.keys
              event(name) { transition sources => to }
            end
            event(:confirm_finalize) { transition %i[finalized finished] => :finalized } if known.key?(:finalized)

            before_transition(any => :active) { |migration| migration.started_at = Time.current if migration.has_attribute?(:started_at) }
            before_transition(any => :finished) { |migration| migration.finished_at = Time.current if migration.records_end? }
          end
        end

        EVENT_FOR = TRANSITIONS.to_h { |event, (_, to)| [to, event] }.freeze

        # Changes the status the way this version does.
        def become!(status)
          return public_send("#{EVENT_FOR.fetch(status)}!") if MiniGitlab.since?(:state_machines)

          self.started_at = Time.current if status == :active && has_attribute?(:started_at)
          public_send("#{status}!")
        end

        def status_word
          MiniGitlab.since?(:state_machines) ? status_name.to_s : status
        end

        def records_end?
          has_attribute?(:finished_at) && MiniGitlab.since?(:finished_at)
        end
      end

      # The statuses of a job, likewise.
      module JobStates
        VALUES = { pending: 0, running: 1, failed: 2, succeeded: 3 }.freeze

        def self.included(model)
          MiniGitlab.since?(:state_machines) ? define_machine(model) : define_enum(model)
        end

        def self.define_machine(model)
          require 'state_machines-activerecord'
          model.state_machine :status, initial: :pending do
            VALUES.each { |name, value| state name, value: value }
            event(:run) { transition any => :running }
            event(:succeed) { transition any => :succeeded }
            event(:failure) { transition any => :failed }
            before_transition(any => :running) { |job| job.note_start }
            before_transition(any => %i[failed succeeded]) { |job| job.finished_at = Time.current }
            after_transition { |job, change| job.log_transition(change.from_name, change.to_name, change.args.first) }
            after_transition(any => :failed) { |job, change| job.react_to_failure(change.args.first&.fetch(:error, nil)) }
          end
        end

        def self.define_enum(model)
          model.enum(status: VALUES)
          model.include(EnumEvents)
        end

        # The events of the state machine, for versions that had none.
        module EnumEvents
          def run!
            note_start
            running!
          end

          def succeed!
            update!(status: :succeeded, finished_at: Time.current)
          end

          def failure!(error: nil)
            update!(status: :failed, finished_at: Time.current)
            react_to_failure(error)
          end
        end

        def note_start
          self.attempts += 1
          self.started_at = Time.current
          self.finished_at = nil
          self.metrics = {}
        end

        def log_transition(from, to, details)
          error = details && details[:error]
          batched_job_transition_logs.create!(
            previous_status: VALUES.fetch(from), next_status: VALUES.fetch(to),
            exception_class: error&.class&.name, exception_message: error&.message
          )
          Gitlab::AppLogger.info(
            message: 'BatchedJob transition', batched_job_id: id, previous_state: from, new_state: to,
            batched_migration_id: batched_background_migration_id, job_class_name: batched_migration.job_class_name,
            exception_class: error&.class&.name, exception_message: error&.message
          )
        end
      end
    end
  end
end
