# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private PostgreSQL cluster for tests: real, on a socket of its own, gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import typing as t
from contextlib import contextmanager
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 5432
# What a test cannot notice, and a disk can.
SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "40",
    "synchronous_commit": "off",
    "timezone": "Asia/Kathmandu",
}


class Cluster:
    """A running cluster. ``socket`` is the folder of its socket, which is also libpq's host."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder
        self._numbers = itertools.count(1)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Cluster]:
        """Make a cluster, run it for the time of the block, and remove it."""
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            os.chown(folder, _server_user().pw_uid, _server_user().pw_gid)
            folder.chmod(0o755)
        data = folder / "data"
        _as_server("initdb", "-D", str(data), "-U", "gitlab", "--auth=trust", "-E", "UTF8", "--no-sync")
        settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        options = f"-k {folder} -p {PORT} {settings}"
        _as_server("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield cls(folder)
        finally:
            _as_server("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
            shutil.rmtree(folder, ignore_errors=True)

    def psql_argv(self, dbname: str) -> list[str]:
        """Return a psql command that reads SQL from stdin and prints bare values."""
        return [
            *(str(_program("psql")), "-h", str(self.socket), "-p", str(PORT), "-U", "gitlab"),
            *("-X", "-q", "-t", "-A", "-P", "pager=off", "-v", "ON_ERROR_STOP=1", "-d", dbname, "-f", "-"),
        ]

    def run(self, dbname: str, sql: str) -> str:
        """Run SQL and return what it printed, one row a line."""
        done = subprocess.run(self.psql_argv(dbname), input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, sql: str = "") -> str:
        """Create a database of its own, run SQL in it, and return its name."""
        name = f"gitlab_{next(self._numbers)}"
        self.run("postgres", f"CREATE DATABASE {name}")
        if sql:
            self.run(name, sql)
        return name

    def connect(self, dbname: str) -> t.Any:
        """Return a psycopg2 connection."""
        import psycopg2

        return psycopg2.connect(host=str(self.socket), port=PORT, user="gitlab", dbname=dbname)


def _server_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("neither a user postgres nor nobody exists, and PostgreSQL refuses to run as root")


def _program(name: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise LookupError(f"{name} is not installed: apt-get install postgresql-15")
    return found[-1]


def _as_server(name: str, *arguments: str) -> None:
    identity: dict[str, t.Any] = {}
    if os.geteuid() == 0:
        user = _server_user()
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # A server that inherits a pipe keeps it open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(_program(name)), *arguments],
            check=False,
            cwd="/",
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            **identity,
        )
        output.seek(0)
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed:\n{output.read()}")
