# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of a test host, and ways to spoil them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if t.TYPE_CHECKING:
    from instances import Instances

BACKUPS = "/var/opt/gitlab/backups"
STATE = "/var/lib/gitlab_fleet_upgrade"
PG_DUMP = "/opt/gitlab/embedded/bin/pg_dump"


class Host:
    """One instance with projects that have something in each part of a backup."""

    def __init__(self, fleet: Instances, name: str) -> None:
        self.fleet = fleet
        self.name = name

    def sh(self, script: str) -> str:
        return self.fleet.sh(self.name, script)

    def run(self, module: str, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        if module in ("gitlab_backup", "backup_verify", "backup_prove"):
            options.setdefault("poll_interval", 1)
        return self.fleet.run(self.name, module, check=check, **options)

    def made(self, **options: t.Any) -> dict[str, t.Any]:
        """Make a backup, which must succeed."""
        result = self.run("gitlab_backup", **options)
        assert not result["failed"], result
        return result

    def verified(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """Verify a backup, which must succeed."""
        result = self.run("backup_verify", id=name, **options)
        assert not result["failed"], result
        return result

    def refused(self, name: str) -> None:
        """The backup must not be accepted: by what is written of it, and by those who would use it."""
        text = self.sh(f"cat {STATE}/backups/{name}/manifest.json 2>/dev/null || echo '{{}}'")
        manifest = json.loads(text)
        used = self.run("backup_copy", id=name)
        assert used["failed"], (manifest, used)

    def archive(self, name: str) -> str:
        return f"{BACKUPS}/{name}_gitlab_backup.tar"

    def traces(self) -> str:
        """All that a run could have added or changed."""
        return self.sh(
            f"find {BACKUPS} {STATE} /etc/gitlab /var/opt/gitlab/gitlab_fleet_upgrade_scratch -printf '%p %s %T@\\n' 2>/dev/null | sort"
        )

    def processes(self) -> str:
        return self.sh("pgrep -af '[g]itlab:backup|[p]g_dump |[_]backup_worker|[g]itlab_fleet_upgrade_scratch' || true")

    def wait_until(self, condition: Callable[[], t.Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"did not happen in time\n{self.processes()}"
            time.sleep(0.3)

    @contextmanager
    def pg_dump(self, script: str) -> Iterator[None]:
        """While it lasts, pg_dump is a shell script; C($real) is the real one."""
        text = f"#!/bin/bash\nreal={PG_DUMP}.real\n{script}\n"
        self.sh(f"mv {PG_DUMP} {PG_DUMP}.real; cat >{PG_DUMP} <<'EOT'\n{text}EOT\nchmod 755 {PG_DUMP}")
        try:
            yield
        finally:
            self.sh(f"mv {PG_DUMP}.real {PG_DUMP}")

    @contextmanager
    def playing(self, path: Path, module: str, **options: t.Any) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """A run of a module in the background, in a process group of its own, with its output in a file."""
        book = path / "book.json"
        task = {"name": "Run", f"gitlab_fleet.upgrade.{module}": dict(options, poll_interval=1)}
        book.write_text(json.dumps([{"hosts": self.name, "gather_facts": False, "tasks": [task]}]))
        output = path / "output"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["ansible-playbook", "-i", str(self.fleet._inventory), str(book)],
                env={**self.fleet._environment, "PYTHONUNBUFFERED": "1"},
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
    found = subprocess.run(["pgrep", "-f", str(path / "book.json")], capture_output=True, text=True, check=True)
    for pid in found.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    process.wait()
