# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording does not say in a field of its own: which version it shows, what runs beside it, when signals come."""

from __future__ import annotations

import re
import signal
import typing as t
from dataclasses import dataclass, field

Recording = dict[str, t.Any]

SET_A = "18.2.8"
SET_B = "15.2.5"
WAIT = "19.4.0"
# Parts of GitLab that the recorder had left out.
LEFT_OUT = "advisory_lock_lines=14.0"
# The check of 14.2-14.5, held by the recorder against the newer model.
OLD_CHECK = "inline_finalize=14.3.6,manually_in_shell=14.3.6,compact_arguments_in_check=14.3.6,finalized_status=14.3.6"

OLD = "ActiveRecord::Migration[6.1]"
NEW = "Gitlab::Database::Migration[2.1]"
CREATE_TABLE = """class {name} < {base}
  def change
    create_table(:{table})
  end
end
"""
QUEUE = """class QueueIt < {base}
  def up
    {body}
  end
end
"""
CHECK = """class FinalizeEventsBigintConversion < {base}
  disable_ddl_transaction!
  def up
    ensure_batched_background_migration_is_finished(
      job_class_name: 'CopyColumnUsingBackgroundMigrationJob', table_name: 'events', column_name: 'id',
      job_arguments: [['id'], ['id_convert_to_bigint']]{finalize}
    )
  end
  def down; end
end
"""
CHECK_FILE = "db/post_migrate/20210622041846_finalize_events_bigint_conversion.rb"
WIDGETS_FILE = "db/migrate/20210701000000_create_widgets.rb"
QUEUE_FILE = "db/post_migrate/20220101000000_queue_it.rb"


@dataclass(frozen=True)
class Interruption:
    """A signal, sent when the second batch is half done or after some seconds."""

    signal: signal.Signals
    after_seconds: float | None = None


@dataclass
class Scenario:
    """How one recording is played."""

    version: str = SET_A
    environment: dict[str, str] = field(default_factory=lambda: {"MINI_GITLAB_SWITCHES": LEFT_OUT})
    mode: str = "one"
    before: str = ""
    ci_before: str = ""
    terminal: bool = False
    # seconds after which a step that does not end is killed
    limit: float = 60
    interruption: Interruption | None = None
    # steps that run at the same time
    together: bool = False
    # of these the later ones start once the first has a job running
    behind_a_job: bool = False
    # SQL and the second of the run at which it comes
    meanwhile: tuple[float, str] | None = None
    files: dict[str, str] = field(default_factory=dict)


SIGNALS = {
    "finalize_sigint_then_rerun": Interruption(signal.SIGINT),
    "finalize_sighup_then_rerun": Interruption(signal.SIGHUP),
    "finalize_sigkill_then_rerun": Interruption(signal.SIGKILL),
    "finalize_sigkill_then_job_marked_failed": Interruption(signal.SIGKILL),
    "finalize_busy_wait_cpu": Interruption(signal.SIGTERM, after_seconds=14),
}
TOGETHER = ("finalize_two_at_once", "finalize_while_worker_runs", "finalize_while_worker_runs_short")
WAIT_INTERVALS = {
    "wait_interval_empty": "",
    "wait_interval_fraction": "1.5",
    "wait_interval_word": "abc",
    "wait_becomes_finished": "2",
}
BEFORE = {
    "finalize_gap_in_ids": "DELETE FROM events WHERE id BETWEEN 10001 AND 30000;",
    "finalize_rows_above_max_value": "INSERT INTO events (project_id) SELECT 1 FROM generate_series(1, 500);",
    "finalize_feature_disabled": "INSERT INTO features (key, created_at, updated_at) VALUES ('execute_batched_migrations_on_schedule', now(), now());",
    "migrate_duplicate_table": "CREATE TABLE lfs_objects ();",
    "migrate_duplicate_table_announce_database": "CREATE TABLE lfs_objects ();",
}
FAILED_IN_CI = """
INSERT INTO batched_background_migrations (min_value, max_value, batch_size, sub_batch_size, interval, status, job_class_name,
  table_name, column_name, job_arguments, gitlab_schema)
VALUES (1, 3000, 1000, 500, 120, 4, 'CopyColumnUsingBackgroundMigrationJob', 'ci_builds', 'id', '[["id"], ["id_convert_to_bigint"]]', 'gitlab_ci');
"""
LIMITS = {"finalize_sigkill_then_rerun": 30, "wait_paused_never_ends": 8}


def scenario_of(recording: Recording) -> Scenario:
    """How to play a recording."""
    name = recording["name"]
    scenario = Scenario(
        mode=mode_of(recording),
        before=BEFORE.get(name, ""),
        ci_before=FAILED_IN_CI if name == "wait_failed_two_databases" else "",
        terminal=name.endswith("_tty"),
        limit=LIMITS.get(name, 60),
        interruption=SIGNALS.get(name),
        together=name in TOGETHER,
        behind_a_job="while_worker" in name,
        files=migration_files(recording),
    )
    if name.startswith("wait_"):
        scenario.version = WAIT
    elif recording["gitlab_version_of_files"].startswith("set B"):
        scenario.version = SET_B
    if "check of 14.2-14.5" in " ".join(recording["stubbed"]):
        scenario.environment["MINI_GITLAB_SWITCHES"] = f"{LEFT_OUT},{OLD_CHECK}"
    if name == "migrate_status_skip_post":
        scenario.environment["SKIP_POST_DEPLOYMENT_MIGRATIONS"] = "true"
    if name in WAIT_INTERVALS:
        scenario.environment["BATCHED_MIGRATIONS_WAIT_INTERVAL_SECONDS"] = WAIT_INTERVALS[name]
    if name == "wait_becomes_finished":
        scenario.meanwhile = (5, "UPDATE batched_background_migrations SET status = 3;")
    return scenario


def mode_of(recording: Recording) -> str:
    """one, two (databases), shared (two connections) or down."""
    steps = recording.get("steps", [recording])
    modes = {step["database_mode"] for step in [recording, *steps] if "database_mode" in step}
    if modes:
        return str(modes.pop())
    return "two" if "main" in (recording["setup"] or {}) else "one"


def migration_files(recording: Recording) -> dict[str, str]:
    """Path to content of the migration files that were shipped."""
    name = recording["name"]
    setup = recording["setup"] or {}
    if "migration_files" in setup:
        return {path: table_file(path, announced(name, path)) for path in setup["migration_files"]}
    if name.startswith("queue_"):
        return {QUEUE_FILE: QUEUE.format(base=NEW, body=recording["migration_body"])}
    if name.startswith("upgrade_way"):
        newer = name.endswith("setA")
        return {
            CHECK_FILE: CHECK.format(
                base=NEW if newer else old_with_helpers(), finalize=", finalize: false" if newer else ""
            )
        }
    if "migration_body" in recording:
        body = recording["migration_body"].replace("MigrationStub14", old_with_helpers()).replace("MigrationStub", NEW)
        return {
            CHECK_FILE: body,
            WIDGETS_FILE: table_file(WIDGETS_FILE, "MigrationStub14" not in recording["migration_body"]),
        }
    return {}


def old_with_helpers() -> str:
    """A migration class of the generation before the prefix."""
    return "Gitlab::Database::Migration[1.0]"


def announced(name: str, path: str) -> bool:
    """Only the first pending file of these recordings was one with the prefix."""
    first = {
        "migrate_pending_announce_database": "create_gadgets",
        "migrate_duplicate_table_announce_database": "create_lfs_objects",
    }
    return name in first and first[name] in path


def table_file(path: str, with_prefix: bool) -> str:
    match = re.fullmatch(r"db/(?:post_)?migrate/\d+_create_(\w+)\.rb", path)
    assert match, path
    table = match[1]
    camel = "".join(part.capitalize() for part in f"create_{table}".split("_"))
    return CREATE_TABLE.format(name=camel, base=NEW if with_prefix else OLD, table=table)
