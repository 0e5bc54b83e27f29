# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the proof costs: the role backup beside the two bare commands, on the same data."""

from __future__ import annotations

import json
import tempfile
import typing as t
from pathlib import Path

from instances import Instances
from timing import measure

HOST = "acme-1"
BACKUPS = "/var/opt/gitlab/backups"
# Enough for the fixed costs of a play not to count.
ROWS = 3_000_000
UPLOADS = 120
MOST_ROUNDS = 3

_BARE = [
    {"name": "Save the configuration", "ansible.builtin.command": "gitlab-ctl backup-etc --no-delete-old-backups"},
    {"name": "Make the backup", "ansible.builtin.command": "gitlab-backup create BACKUP=bare"},
]
_PROVEN = [{"name": "Back up", "ansible.builtin.include_role": {"name": "gitlab_fleet.upgrade.backup"}}]


def run(rounds: int) -> t.Iterator[str]:
    """Yield the lines of the result."""
    with Instances.fleet("bench-backup") as instances, tempfile.TemporaryDirectory() as directory:
        instances.up({HOST: "gitlab-14.0.12"})
        _fill(instances)
        ways = {
            "bare": _way(instances, Path(directory), "bare", _BARE),
            "proven": _way(instances, Path(directory), "proven", _PROVEN),
        }
        seconds = measure(ways, min(rounds, MOST_ROUNDS))
        size = int(instances.sh(HOST, f"stat -c %s {BACKUPS}/*_gitlab_backup.tar | tail -1"))
    yield f"backup: an archive of {size / 1e6:.0f} MB, middle of {min(rounds, MOST_ROUNDS)} rounds"
    yield f"  gitlab-backup create and gitlab-ctl backup-etc       {seconds['bare']:6.1f} s"
    yield f"  role backup: the same, and read from end to end      {seconds['proven']:6.1f} s"
    yield f"  with the proof it takes {seconds['proven'] / seconds['bare']:.2f} times as long"


def _fill(instances: Instances) -> None:
    instances.sql(
        HOST,
        f"INSERT INTO events (project_id, author_id) SELECT n, n % 977 FROM generate_series(1, {ROWS}) AS n;"
        f" INSERT INTO push_event_payloads (event_id, commit_count, ref)"
        f" SELECT n, 1, md5(n::text) FROM generate_series(1000000, {ROWS}) AS n ON CONFLICT DO NOTHING",
    )
    uploads = "/var/opt/gitlab/gitlab-rails/uploads"
    instances.sh(
        HOST,
        f"for n in $(seq {UPLOADS}); do head -c 1000000 /dev/urandom >{uploads}/$n; done; chown -R git {uploads};"
        " cd /; gitlab-rake 'mini_gitlab:seed_data[3]'; gitlab-ctl stop sidekiq",
    )


def _way(instances: Instances, directory: Path, name: str, tasks: list[dict[str, t.Any]]) -> t.Callable[[], None]:
    book = directory / f"{name}.json"
    book.write_text(json.dumps([{"hosts": HOST, "gather_facts": False, "tasks": tasks}]))

    def play() -> None:
        instances.sh(HOST, f"rm -rf {BACKUPS}/* /var/lib/gitlab_fleet_upgrade/backups")
        done = instances.play(str(book))
        assert done.returncode == 0, done.stdout + done.stderr

    return play
