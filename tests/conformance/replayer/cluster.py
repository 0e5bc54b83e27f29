# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private PostgreSQL with the databases that replays start from."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import typing as t
from pathlib import Path

OWNER = "gitlab"
ACCOUNT = "postgres"
PORT = 5497
PORT_OF_NOBODY = 5498
PROGRAMS = Path("/usr/lib/postgresql")
SETTINGS = ("listen_addresses=''", "fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")

Row = dict[str, t.Any]


def programs() -> Path:
    """The folder of the newest PostgreSQL server programs."""
    return max(PROGRAMS.glob("*/bin"), key=lambda path: int(path.parent.name))


class Cluster:
    """A server on a socket in `folder`; its superuser is GitLab's role."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "pg"

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.socket.mkdir(parents=True)
        account = pwd.getpwnam(ACCOUNT)
        for path in (self.folder, self.socket):
            os.chown(path, account.pw_uid, account.pw_gid)
        data = str(self.folder / "data")
        self._as_account(
            "initdb", "-D", data, "-A", "trust", "-U", OWNER, "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8"
        )
        settings = " ".join(f"-c {setting}" for setting in SETTINGS)
        options = f"{settings} -k {self.socket} -p {PORT}"
        self._as_account("pg_ctl", "-D", data, "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        self._as_account("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def _as_account(self, program: str, *arguments: str) -> None:
        command = [
            "setpriv",
            "--reuid",
            ACCOUNT,
            "--regid",
            ACCOUNT,
            "--init-groups",
            str(programs() / program),
            *arguments,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def sql(self, database: str, statements: str) -> str:
        """What psql prints, unaligned and without headers.

        Raises:
            RuntimeError: with what psql said.
        """
        command = [
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.socket),
            "-p",
            str(PORT),
            "-U",
            OWNER,
            "-d",
            database,
        ]
        done = subprocess.run([*command, "-f", "-"], input=statements, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{done.stderr}\nin: {statements[:500]}")
        return done.stdout

    def answers(self, database: str, queries: dict[str, str]) -> dict[str, list[Row]]:
        """The rows of several queries, asked in one call: column names as keys."""
        parts = (
            f"'{name}', (SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM ({query}) AS q)"
            for name, query in queries.items()
        )
        return t.cast(
            "dict[str, list[Row]]", json.loads(self.sql(database, f"SELECT json_build_object({', '.join(parts)});"))
        )

    def create(self, name: str, template: str) -> None:
        self.sql(
            "postgres",
            f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE); CREATE DATABASE "{name}" TEMPLATE "{template}";',
        )
