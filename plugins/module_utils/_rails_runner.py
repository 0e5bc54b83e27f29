# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Ruby that runs inside GitLab, by C(gitlab-rails runner): one named snippet for each thing that rake cannot do.

A snippet gets its input as JSON in C(ARGV[0]) and answers with one line of JSON behind :data:`ANSWER_MARK`. It relies
on GitLab's engine only: names that not every version has are asked for (C(respond_to?), C(parameters)) before use.
"""

from __future__ import annotations

import json
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

ANSWER_MARK = "@@gitlab_fleet_upgrade "

# Every snippet begins with it. A model reads and writes main unless it is inside SharedModel.using_connection, and
# versions before 14.4 or so have main only. Up to 14.9 the status is an enum, whose reader gives its name: an
# expression in its place gives the number in every version.
_PRELUDE = r"""
require 'json'
input = JSON.parse(ARGV[0])
answer = lambda { |value| $stdout.puts("\n@@gitlab_fleet_upgrade #{JSON.generate(value)}"); $stdout.flush }
refuse = lambda { |text| answer.call('refused' => text); exit(3) }
engine = Gitlab::Database::BackgroundMigration
within = lambda do |name, &block|
  if Gitlab::Database.respond_to?(:database_base_models)
    model = Gitlab::Database.database_base_models[name] || refuse.call("GitLab has no connection named #{name}.")
    Gitlab::Database::SharedModel.using_connection(model.connection) { block.call(model.connection) }
  elsif name == 'main'
    block.call(engine::BatchedMigration.connection)
  else
    refuse.call("This version of GitLab has no connection named #{name}.")
  end
end
status = lambda { |row| engine::BatchedMigration.where(id: row.id).pick(Arel.sql('CAST(status AS integer) + 0')) }
find = lambda do |wanted|
  row = engine::BatchedMigration.find_by(id: wanted['row_id']) || refuse.call('There is no row with this id.')
  same = %w[job_class_name table_name column_name job_arguments].all? { |name| row[name] == wanted[name] }
  same ? row : refuse.call('The row with this id is another migration now.')
end
"""

# Finishes one migration in the foreground, in the database where its row is. The Rake task for a second database looks
# the row up in main and does nothing.
FINALIZE = (
    _PRELUDE
    + r"""
within.call(input['database']) do |connection|
  row = find.call(input)
  before = status.call(row)
  refuse.call("Its status is #{before}.") unless [0, 1, 4, 5].include?(before)
  unless engine::BatchedMigrationRunner.respond_to?(:finalize)
    refuse.call('This version of GitLab cannot finalize a migration.')
  end
  finalize = engine::BatchedMigrationRunner.method(:finalize)
  keywords = finalize.parameters.any? { |kind, name| name == :connection } ? { connection: connection } : {}
  begin
    finalize.call(row.job_class_name, row.table_name, row.column_name, row.job_arguments, **keywords)
    answer.call('before' => before, 'after' => status.call(row))
  rescue StandardError => error
    answer.call('before' => before, 'after' => status.call(row), 'error_class' => error.class.name,
                'error_message' => error.message)
    raise
  end
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


def command(installation: Installation, snippet: str, value: t.Mapping[str, t.Any]) -> list[str]:
    """Return the command that runs a snippet of this file with ``value`` as its input."""
    return installation.runner(snippet, json.dumps(value, ensure_ascii=True, sort_keys=True))


def parse_answer(output: str) -> dict[str, t.Any] | None:
    """Return what a snippet answered, or None when it did not get so far.

    GitLab prints warnings of its own around it, and the last marked line counts.
    """
    for line in reversed(output.splitlines()):
        if line.startswith(ANSWER_MARK):
            try:
                value = json.loads(line[len(ANSWER_MARK) :])
            except ValueError:
                return None
            return value if isinstance(value, dict) else None
    return None
