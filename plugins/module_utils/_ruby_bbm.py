# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Ruby for batched background migrations: one snippet for each thing that rake cannot do. See :mod:`_rails_runner`."""

from __future__ import annotations

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import PRELUDE

# GitLab's finalize of one row, behind a guard of its own: not every version leaves a finished or finalized one alone.
_FINALIZE_ROW = r"""
unfinished = lambda do |row|
  before = status.call(row)
  [0, 1, 4, 5].include?(before) ? before : refuse.call("Its status is #{before}.")
end
finalize = lambda do |row, connection|
  unless engine::BatchedMigrationRunner.respond_to?(:finalize)
    refuse.call('This version of GitLab cannot finalize a migration.')
  end
  entry = engine::BatchedMigrationRunner.method(:finalize)
  keywords = entry.parameters.any? { |_kind, name| name == :connection } ? { connection: connection } : {}
  entry.call(row.job_class_name, row.table_name, row.column_name, row.job_arguments, **keywords)
end
"""

# Finishes one migration in the foreground, in the database where its row is. The Rake task for a second database looks
# the row up in main and does nothing.
FINALIZE = (
    PRELUDE
    + _FINALIZE_ROW
    + r"""
within.call(input['database']) do |connection|
  row = find.call(input)
  before = unfinished.call(row)
  begin
    finalize.call(row, connection)
    answer.call('before' => before, 'after' => status.call(row))
  rescue StandardError => error
    answer.call('before' => before, 'after' => status.call(row), 'error_class' => error.class.name,
                'error_message' => error.message)
    raise
  end
end
"""
)

# Finishes many with one boot: each lane is a list that goes one after another, and so many lanes go side by side, each
# in a thread as in Sidekiq. What begins and ends is told at once, and no failure ends another's work. By its name in
# pg_stat_activity the session of a migration is told from the others. A signal reaches the main thread alone: it is
# handed on, so that the engine gives every batch back as it does in a task of its own.
FINALIZE_MANY = (
    PRELUDE
    + _FINALIZE_ROW
    + r"""
refused = Class.new(StandardError)
refuse = lambda { |text| raise refused, text }
voice = Mutex.new
tell = lambda do |wanted, event, more = {}|
  voice.synchronize { answer.call({ 'id' => wanted['id'], 'event' => event, 'at' => Time.now.to_f }.merge(more)) }
end
run = lambda do |wanted|
  tell.call(wanted, 'begin')
  Rails.application.executor.wrap do
    within.call(wanted['database']) do |connection|
      connection.execute("SET application_name TO #{connection.quote(wanted['session'])}")
      row = find.call(wanted)
      unfinished.call(row)
      finalize.call(row, connection)
    end
  end
  tell.call(wanted, 'end')
rescue refused => error
  tell.call(wanted, 'end', 'refused' => error.message)
rescue Exception => error
  text = error.full_message(highlight: false, order: :top).dup.force_encoding(Encoding::UTF_8).scrub
  tell.call(wanted, 'end', 'error' => text[0, 8000])
  raise if error.is_a?(SignalException)
end
lanes = Queue.new
input['lanes'].each { |lane| lanes << lane }
lanes.close
models = Gitlab::Database.respond_to?(:database_base_models) ? Gitlab::Database.database_base_models : {}
databases = input['lanes'].flatten.map { |wanted| wanted['database'] }.uniq
room = databases.map { |name| (models[name] || ActiveRecord::Base).connection_pool.size - 1 }.min
threads = Array.new([input['parallel'], input['lanes'].size, [room, 1].max].min) do
  Thread.new do
    Thread.current.report_on_exception = false
    while (lane = lanes.pop)
      lane.each(&run)
    end
  end
end
begin
  threads.each(&:join)
rescue SignalException => signal
  lanes.clear
  threads.each { |thread| thread.raise(SignalException.new(signal.signo)) }
  threads.each do |thread|
    thread.join
  rescue SignalException
    next
  end
  raise signal
end
"""
)

# All rows are looked at before the first is changed, and each again under its lock: models before 16.0 take a finished
# migration back to work when told so. What fails is told by row, and the others go on.
_CHANGE_ROWS = r"""
on_each = lambda do |&block|
  input['rows'].each { |wanted| within.call(wanted['database']) { block.call(wanted, find.call(wanted)) } }
end
expected = lambda do |row|
  now = status.call(row)
  input['from'].include?(now) ? nil : "Its status is #{now} now."
end
change = lambda do |&block|
  on_each.call { |_wanted, row| expected.call(row)&.then { |text| refuse.call(text) } }
  errors = {}
  on_each.call do |wanted, row|
    block.call(row)
  rescue StandardError => error
    errors[wanted['id']] = { 'error_class' => error.class.name, 'error_message' => error.message }
  end
  answer.call('errors' => errors)
end
"""

# What Retry in the Admin area does. GitLab locks and commits a hundred jobs at a time, which one lock around all would
# undo.
RETRY = (
    PRELUDE
    + _CHANGE_ROWS
    + r"""
unless engine::BatchedMigration.method_defined?(:retry_failed_jobs!)
  refuse.call('This version of GitLab cannot retry the failed jobs of a migration.')
end
change.call { |row| row.retry_failed_jobs! }
"""
)

# Pauses or resumes: an event of the state machine since 14.10, a write of the enum before.
SWITCH = (
    PRELUDE
    + _CHANGE_ROWS
    + r"""
event, write = { 'paused' => %w[pause! paused!], 'active' => %w[execute! active!] }.fetch(input['state'])
change.call do |row|
  row.with_lock do
    expected.call(row)&.then { |text| raise text }
    row.public_send(row.respond_to?(event) ? event : write)
  end
end
"""
)

# "Mark a failed migration finished" of GitLab's page on background migrations: without validation, which would ask for
# succeeded jobs. 3 is succeeded for a job and finished for a migration, in every version.
MARK_FINISHED = (
    PRELUDE
    + _CHANGE_ROWS
    + r"""
change.call do |row|
  row.with_lock do
    expected.call(row)&.then { |text| raise text }
    row.batched_jobs.update_all(status: 3)
    row.update_attribute(:status, 3)
  end
end
"""
)

# Through Feature, which clears the caches that SQL would leave as they were; null removes what was stored, so that the
# version's default holds.
SETTINGS = (
    PRELUDE
    + r"""
input['flags'].each do |name, value|
  case value
  when true then Feature.enable(name.to_sym)
  when false then Feature.disable(name.to_sym)
  else Feature.remove(name.to_sym)
  end
end
maximum = input['max_running']
ApplicationSetting.update_all(database_max_running_batched_background_migrations: maximum) if maximum
answer.call('set' => true)
"""
)
