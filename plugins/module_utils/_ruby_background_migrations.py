# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Ruby for the older, non-batched background migrations, which only Sidekiq's classes can find. See :mod:`_rails_runner`."""

from __future__ import annotations

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import PRELUDE

# The older, non-batched background migrations: messages for Sidekiq, and tracked rows. Up to 14.3 or so there is one
# queue and no keyword `database`; a class stands in a row without the leading "::" that a full name has in a message.
_ENGINE = (
    PRELUDE
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
_WITHOUT_ENGINE = r"""
unless %i[remaining steal perform].all? { |name| Gitlab::BackgroundMigration.respond_to?(name) }
  $stdout.puts("\n@@gitlab_fleet_upgrade #{JSON.generate('engine' => false)}")
  exit(0)
end
"""

# What is in Redis, and which classes this version has.
COUNT = (
    "require 'json'\n"
    + _WITHOUT_ENGINE
    + _ENGINE
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
CLEAR = (
    "require 'json'\n"
    + _WITHOUT_ENGINE
    + _ENGINE
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
