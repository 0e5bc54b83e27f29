# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How Ruby is run inside GitLab, by C(gitlab-rails runner): what every snippet begins with, the command, and its answer.

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
PRELUDE = r"""
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
