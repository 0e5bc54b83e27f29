#!/usr/bin/env python3
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print what a mini GitLab host holds and runs, as JSON: equal output before and after means that nothing changed.

Runs on the host: every row of every table of every database, the process of every service, and the files that GitLab
and the collection keep. Logs and the databases' own files are left out: reading writes them.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import subprocess
import typing as t

FILES = ("/etc/gitlab", "/var/lib/gitlab_fleet_upgrade", "/var/opt/gitlab/gitlab-rails", "/opt/gitlab/etc")

TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
CONTENT = "SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM {} AS t"


def psql(database: str, sql: str) -> list[str]:
    """Return the lines that a query answers with."""
    command = ["/opt/gitlab/bin/gitlab-psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def tables() -> dict[str, str]:
    """Return the row count and a digest of every table of every database."""
    found = {}
    for database in psql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"):
        for table in psql(database, TABLES):
            (found[f"{database} {table}"],) = psql(database, CONTENT.format(table))
    return found


def services() -> dict[str, str]:
    """Return the state of every service, with the process but without the seconds."""
    status = subprocess.run(["/opt/gitlab/bin/gitlab-ctl", "status"], check=False, capture_output=True, text=True)
    return {
        line.split(":")[1].strip(): re.sub(r" \d+s", "", line) for line in status.stdout.splitlines() if ":" in line
    }


def files() -> dict[str, str]:
    """Return a digest of every file that is kept."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in FILES
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def main() -> None:
    """Print the whole."""
    found: dict[str, t.Any] = {"tables": tables(), "services": services(), "files": files()}
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
