# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows, processes and traces of batched background migrations on a test host."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
from collections.abc import Callable, Iterator
from contextlib import contextmanager

if t.TYPE_CHECKING:
    from pathlib import Path

    from instances import Instances

COPY = "CopyColumnUsingBackgroundMigrationJob"
JOBS_DIRECTORY = "/var/lib/gitlab_fleet_upgrade/jobs"

# The six of the runbook: GitLab 14.0 to 14.2.
SIX = [
    ("ci_stages", "id", [["id"], ["id_convert_to_bigint"]]),
    ("ci_builds_metadata", "id", [["id"], ["id_convert_to_bigint"]]),
    ("ci_builds_metadata", "id", [["build_id"], ["build_id_convert_to_bigint"]]),
    ("push_event_payloads", "event_id", [["event_id"], ["event_id_convert_to_bigint"]]),
    ("deployments", "id", [["deployable_id"], ["deployable_id_convert_to_bigint"]]),
    ("taggings", "id", [["id", "taggable_id"], ["id_convert_to_bigint", "taggable_id_convert_to_bigint"]]),
]


def quoted(value: t.Any) -> str:
    return "'" + (value if isinstance(value, str) else json.dumps(value)).replace("'", "''") + "'"


class Host:
    """One instance and one of its databases, emptied of migrations."""

    def __init__(self, fleet: Instances, name: str, dbname: str = "gitlabhq_production") -> None:
        self.fleet = fleet
        self.name = name
        self.dbname = dbname

    def sql(self, statement: str) -> str:
        return self.fleet.sql(self.name, statement, self.dbname)

    def sh(self, script: str) -> str:
        return self.fleet.sh(self.name, script)

    def run(self, module: str = "bbm_finalize", *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.fleet.run(self.name, module, check=check, **options)

    def clear(self) -> None:
        self.sql("DELETE FROM batched_background_migrations")

    def add(self, class_name: str, table: str, column: str, arguments: t.Any, **values: t.Any) -> int:
        """Queue a migration over the whole table; returns the row's id."""
        row = {
            "created_at": "now()",
            "updated_at": "now()",
            "min_value": "1",
            "max_value": f"(SELECT greatest(max({column}), 1) FROM {table})",
            "batch_size": "5000",
            "sub_batch_size": "2500",
            "pause_ms": "1",
            '"interval"': "120",
            "status": "1",
            "job_class_name": quoted(class_name),
            "table_name": quoted(table),
            "column_name": quoted(column),
            "job_arguments": quoted(json.dumps(arguments)) + "::jsonb",
        }
        row.update({name: str(value) for name, value in values.items()})
        names, expressions = ", ".join(row), ", ".join(row.values())
        return int(self.sql(f"INSERT INTO batched_background_migrations ({names}) SELECT {expressions} RETURNING id"))

    def add_job(self, migration: int, **values: t.Any) -> int:
        """Give a migration its first batch as a job; running since now, if not told otherwise."""
        row = {
            "created_at": "now()",
            "updated_at": "now()",
            "started_at": "now()",
            "batched_background_migration_id": str(migration),
            "min_value": "1",
            "max_value": "5000",
            "batch_size": "5000",
            "sub_batch_size": "2500",
            "pause_ms": "1",
            "status": "1",
            "attempts": "1",
        }
        row.update({name: str(value) for name, value in values.items()})
        names, expressions = ", ".join(row), ", ".join(row.values())
        return int(
            self.sql(f"INSERT INTO batched_background_migration_jobs ({names}) SELECT {expressions} RETURNING id")
        )

    def statuses(self) -> list[int]:
        text = self.sql("SELECT status FROM batched_background_migrations ORDER BY id")
        return [int(line) for line in text.split()]

    def jobs(self) -> list[dict[str, t.Any]]:
        text = self.sql(
            "SELECT coalesce(jsonb_agg(to_jsonb(j) ORDER BY id), '[]') FROM batched_background_migration_jobs AS j"
        )
        found: list[dict[str, t.Any]] = json.loads(text)
        return found

    def traces(self) -> str:
        """All that a run could have changed: rows, files of jobs, and processes of GitLab's commands."""
        rows = self.sql(
            "SELECT to_jsonb(m) FROM batched_background_migrations AS m ORDER BY id;"
            " SELECT to_jsonb(j) FROM batched_background_migration_jobs AS j ORDER BY id;"
            " SELECT md5(string_agg(id_convert_to_bigint::text, ',' ORDER BY id)) FROM taggings"
        )
        files = self.sh(f"find {JOBS_DIRECTORY} -type f -printf '%p %T@\\n' 2>/dev/null | sort")
        return f"{rows}\n{files}\n{self.commands()}"

    def commands(self) -> str:
        """The processes that finish migrations."""
        return self.sh("pgrep -af '[r]ake |[r]ails runner' || true")

    def archived(self, name: str) -> list[str]:
        return self.sh(f"ls -d {JOBS_DIRECTORY}/archive/{name}.* 2>/dev/null || true").split()

    def wait_until(self, condition: Callable[[], t.Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"did not happen in time\n{self.commands()}"
            time.sleep(0.3)

    def end_commands(self) -> None:
        """End what a test left running."""
        self.sh("pkill -f '[r]ake gitlab:background|[r]ails runner' || true")


def left_behind(host: Host) -> str:
    """All that finalize leaves: states, jobs, and what it copied."""
    migrations = host.sql(
        "SELECT job_class_name, table_name, column_name, job_arguments, status, batch_size"
        " FROM batched_background_migrations ORDER BY id"
    )
    jobs = host.sql(
        "SELECT m.table_name, m.column_name, m.job_arguments, j.min_value, j.max_value, j.batch_size, j.status, j.attempts"
        " FROM batched_background_migration_jobs AS j"
        " JOIN batched_background_migrations AS m ON m.id = j.batched_background_migration_id ORDER BY m.id, j.min_value"
    )
    copied = [
        host.sql(f"SELECT md5(string_agg({target}::text, ',' ORDER BY {column})) FROM {table}")
        for table, column, (_sources, targets) in SIX
        for target in targets
    ]
    return "\n".join([migrations, jobs, *copied])


@contextmanager
def playbook(host: Host, path: Path, **options: t.Any) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run of the module in the background, in a process group of its own, with its output in a file."""
    book = path / "book.json"
    task = {"name": "Finish", "gitlab_fleet.upgrade.bbm_finalize": dict(options, poll_interval=1)}
    book.write_text(json.dumps([{"hosts": host.name, "gather_facts": False, "tasks": [task]}]))
    output = path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            ["ansible-playbook", "-i", str(host.fleet._inventory), str(book)],
            env={
                **host.fleet._environment,
                # Into a file, Python keeps lines back until some thousand characters are there.
                "PYTHONUNBUFFERED": "1",
                "ANSIBLE_SSH_EXTRA_ARGS": "-o ServerAliveInterval=2 -o ServerAliveCountMax=2",
            },
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            yield process, output
        finally:
            if process.poll() is None:
                kill_controller(process, path)


def kill_controller(process: subprocess.Popen[str], path: Path) -> None:
    """End ansible-playbook and its workers, which are in sessions of their own, without a warning."""
    subprocess.run(["pkill", "-KILL", "-f", str(path / "book.json")], check=True)
    process.wait()
