# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Ruby that runs inside GitLab, by C(gitlab-rails runner): one named snippet for each thing that rake cannot do.

A snippet gets its input as JSON in C(ARGV) and answers with one line of JSON behind :data:`ANSWER_MARK`. It relies
on GitLab's engine only: names that not every version has are asked for (C(respond_to?), C(parameters)) before use.
"""

from __future__ import annotations

import json
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

ANSWER_MARK = "@@gitlab_fleet_upgrade "
# Linux takes 128 KiB in one word of a command (MAX_ARG_STRLEN in execve(2)).
WORD_BYTES = 100_000

# Every snippet begins with it. A model reads and writes main unless it is inside SharedModel.using_connection, and
# versions before 14.4 or so have main only. Rails' query cache, on in a thread and with Rails 7.1 in every runner, would
# repeat old answers. A row is locked when it is read: the lock is gone at once, but what asks for one is asked of the
# primary, and so is all that follows. Up to 14.9 the status is an enum, whose reader gives its name: an expression in its
# place gives the number in every version.
_PRELUDE = r"""
require 'json'
input = JSON.parse(ARGV.join)
answer = lambda { |value| $stdout.puts("\n@@gitlab_fleet_upgrade #{JSON.generate(value)}"); $stdout.flush }
refuse = lambda { |text| answer.call('refused' => text); exit(3) }
engine = Gitlab::Database::BackgroundMigration
within = lambda do |name, &block|
  fresh = lambda do |connection|
    connection.disable_query_cache!
    block.call(connection)
  end
  if Gitlab::Database.respond_to?(:database_base_models)
    model = Gitlab::Database.database_base_models[name] || refuse.call("GitLab has no connection named #{name}.")
    Gitlab::Database::SharedModel.using_connection(model.connection) { fresh.call(model.connection) }
  elsif name == 'main'
    fresh.call(engine::BatchedMigration.connection)
  else
    refuse.call("This version of GitLab has no connection named #{name}.")
  end
end
status = lambda { |row| engine::BatchedMigration.where(id: row.id).pick(Arel.sql('CAST(status AS integer) + 0')) }
find = lambda do |wanted|
  row = engine::BatchedMigration.lock.find_by(id: wanted['row_id']) || refuse.call('There is no row with this id.')
  same = %w[job_class_name table_name column_name job_arguments].all? { |name| row[name] == wanted[name] }
  same ? row : refuse.call('The row with this id is another migration now.')
end
"""

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
    _PRELUDE
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
    _PRELUDE
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
    _PRELUDE
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
    _PRELUDE
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
    _PRELUDE
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
    _PRELUDE
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

# The older, non-batched background migrations: messages for Sidekiq, and tracked rows. Up to 14.3 or so there is one
# queue and no keyword `database`; a class stands in a row without the leading "::" that a full name has in a message.
_BACKGROUND_MIGRATIONS = (
    _PRELUDE
    + r"""
older = Gitlab::BackgroundMigration
tracked = Gitlab::Database::BackgroundMigrationJob
takes = ->(name, keyword) { older.method(name).parameters.any? { |_kind, parameter| parameter == keyword } }
at = ->(name, database) { takes.call(name, :database) ? { database: database } : {} }
worker_of = lambda do |database|
  if older.respond_to?(:coordinator_for_database)
    older.coordinator_for_database(database).worker_class
  elsif database == 'main'
    BackgroundMigrationWorker
  end
rescue ArgumentError
  nil
end
queues = input['connections'].map { |database| [database, worker_of.call(database)] }.to_h.compact
each_message = lambda do |database, &block|
  worker = queues.fetch(database)
  sets = { 'queued' => Sidekiq::Queue.new(worker.sidekiq_options['queue']), 'scheduled' => Sidekiq::ScheduledSet.new,
           'retrying' => Sidekiq::RetrySet.new, 'dead' => Sidekiq::DeadSet.new }
  sets.each { |place, set| set.each { |message| block.call(place, message) if message.klass == worker.name } }
end
working_on = lambda do |database|
  jobs = []
  (defined?(Sidekiq::WorkSet) ? Sidekiq::WorkSet : Sidekiq::Workers).new.each do |_process, _thread, work|
    job = work.respond_to?(:payload) ? work.payload : work['payload']
    job = JSON.parse(job) if job.is_a?(String)
    jobs << job['args'] if job['class'] == queues.fetch(database).name
  end
  jobs
end
plain = ->(name) { name.to_s.sub(/\A::/, '') }
callable = lambda do |name|
  full = plain.call(name).start_with?('Gitlab::') ? "::#{plain.call(name)}" : name
  older.const_get(full, false) && full
rescue NameError
  nil
end
count = lambda do |database|
  classes = Hash.new { |all, name| all[name] = { 'queued' => 0, 'scheduled' => 0, 'running' => 0, 'retrying' => 0, 'dead' => 0 } }
  working_on.call(database).each { |name, _arguments| classes[plain.call(name)]['running'] += 1 }
  each_message.call(database) do |place, message|
    entry = classes[plain.call(message.args.first)]
    entry[place] += 1
    failed_at = (message['retried_at'] || message['failed_at']).to_f
    next unless message['error_class'] && failed_at >= entry.dig('error', 'at').to_f

    entry['error'] = { 'error_class' => message['error_class'], 'error_message' => message['error_message'], 'at' => failed_at }
  end
  { 'remaining' => older.remaining(**at.call(:remaining, database)), 'classes' => classes }
end
messages = -> { queues.keys.map { |database| [database, count.call(database)] }.to_h }
present = lambda do |names|
  names.map { |name| [name, !callable.call(name).nil?] }.to_h
end
"""
)

# From 19.0 on or so GitLab has nothing left of it: that is told apart from a call that fails.
_WITHOUT_BACKGROUND_MIGRATIONS = r"""
unless %i[remaining steal perform].all? { |name| Gitlab::BackgroundMigration.respond_to?(name) }
  $stdout.puts("\n@@gitlab_fleet_upgrade #{JSON.generate('engine' => false)}")
  exit(0)
end
"""

# What is in Redis, and which classes this version has.
COUNT_BACKGROUND_MIGRATIONS = (
    "require 'json'\n"
    + _WITHOUT_BACKGROUND_MIGRATIONS
    + _BACKGROUND_MIGRATIONS
    + r"""
found = messages.call
names = (input['row_classes'] + found.values.flat_map { |one| one['classes'].keys }).uniq
answer.call('engine' => true, 'messages' => found, 'present' => present.call(names))
"""
)

# As GitLab's finalize_background_migration: steal, re-attempt the tracked rows that are still pending, steal what that
# left. A row whose job Sidekiq is working on is left to it. A line tells of each job before it begins. What fails is told
# by class, and the others go on; a class is given up after three failures. The documented remedy comes last, for rows
# that no message and no failure speaks for.
CLEAR_BACKGROUND_MIGRATIONS = (
    "require 'json'\n"
    + _WITHOUT_BACKGROUND_MIGRATIONS
    + _BACKGROUND_MIGRATIONS
    + r"""
errors = []
attempts = Hash.new(0)
given_up = Hash.new(0)
wanted = ->(name) { input['classes'].nil? || input['classes'].include?(plain.call(name)) }
begins = lambda do |database, name, arguments, source, left|
  attempts[[database, plain.call(name)]] += 1
  event = { 'database' => database, 'class_name' => plain.call(name), 'arguments' => arguments, 'from' => source, 'left' => left }
  $stdout.puts("@@background_migration #{JSON.generate(event)}")
  $stdout.flush
end
failed = lambda do |database, name, arguments, error|
  given_up[[database, plain.call(name)]] += 1
  errors << { 'database' => database, 'class_name' => plain.call(name), 'arguments' => arguments,
              'error_class' => error.class.name, 'error_message' => error.message.to_s.dup.force_encoding('UTF-8').scrub[0, 10_000] }
end
steal = lambda do |database|
  places = input['retry_dead_jobs'] ? %w[queued scheduled retrying dead] : %w[queued scheduled]
  left = Hash.new(0)
  each_message.call(database) do |place, message|
    name = message.args.first
    left[name] += 1 if places.include?(place) && wanted.call(name) && given_up[[database, plain.call(name)]].zero? && callable.call(name)
  end
  options = at.call(:steal, database)
  options = options.merge(retry_dead_jobs: true) if input['retry_dead_jobs'] && takes.call(:steal, :retry_dead_jobs)
  left.each_key do |name|
    current = nil
    older.steal(name, **options) do |message|
      current = message.args[1]
      begins.call(database, name, current, 'sidekiq', left[name] -= 1)
      true
    end
  rescue StandardError, ScriptError => error
    failed.call(database, name, current, error)
  end
end
attempt = lambda do |database, name, arguments, source, left|
  begins.call(database, name, arguments, source, left)
  older.perform(callable.call(name) || name, arguments, **at.call(:perform, database))
  true
rescue StandardError, ScriptError => error
  failed.call(database, name, arguments, error)
  false
end
pending = ->(classes) { classes ? tracked.pending.where(class_name: classes) : tracked.pending }
before = messages.call
row_classes = input['databases'].flat_map { |database| within.call(database) { pending.call(nil).distinct.pluck(:class_name) } }
again = input['again'].select { |one| attempt.call(*one.values_at('database', 'class_name', 'arguments'), 'interrupted', 0) }
queues.each_key { |database| steal.call(database) }
input['databases'].each do |database|
  within.call(database) do
    left = pending.call(input['classes']).group(:class_name).count
    busy = queues.key?(database) ? working_on.call(database).map { |name, arguments| [plain.call(name), arguments] } : []
    pending.call(input['classes']).find_each do |row|
      name = row.class_name
      left[name] = left.fetch(name, 1) - 1
      next if busy.include?([name, row.arguments]) || callable.call(name).nil? || given_up[[database, name]] >= 3

      attempt.call(database, name, row.arguments, 'row', left[name]) if tracked.pending.exists?(row.id)
    end
  end
end
queues.each_key { |database| steal.call(database) }
marked = []
input['databases'].product(input['remedies']).each do |database, name|
  waiting = messages.call.values.sum { |one| (one['classes'][name] || {}).values_at('queued', 'scheduled', 'running').sum(&:to_i) }
  next if waiting.positive? || given_up[[database, name]].positive?

  within.call(database) do
    rows = 0
    pending.call([name]).find_each { |row| rows += tracked.mark_all_as_succeeded(name, row.arguments) }
    marked << { 'database' => database, 'class_name' => name, 'rows' => rows } if rows.positive?
  end
end
after = messages.call
names = (row_classes + (before.values + after.values).flat_map { |one| one['classes'].keys }).uniq
attempted = attempts.map { |(database, name), number| { 'database' => database, 'class_name' => name, 'jobs' => number } }
answer.call('engine' => true, 'before' => before, 'messages' => after, 'present' => present.call(names), 'errors' => errors,
            'attempted' => attempted, 'marked' => marked, 'again' => again)
"""
)


def command(installation: Installation, snippet: str, value: t.Mapping[str, t.Any]) -> list[str]:
    """Return the command that runs a snippet of this file with ``value`` as its input."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return installation.runner(
        snippet, *(text[start : start + WORD_BYTES] for start in range(0, len(text), WORD_BYTES))
    )


def parse_answers(output: str) -> list[dict[str, t.Any]]:
    """Return what a snippet has answered so far. GitLab prints warnings of its own around it."""
    found = []
    for line in output.split("\n"):
        if line.startswith(ANSWER_MARK):
            try:
                value = json.loads(line[len(ANSWER_MARK) :])
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def parse_answer(output: str) -> dict[str, t.Any] | None:
    """Return the last that a snippet answered, or None when it did not get so far."""
    answers = parse_answers(output)
    return answers[-1] if answers else None
