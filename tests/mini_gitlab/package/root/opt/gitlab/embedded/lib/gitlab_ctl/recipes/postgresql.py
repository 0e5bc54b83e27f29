# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packaged PostgreSQL: cluster, access by peer, roles and databases (facts 5.1)."""

from __future__ import annotations

import subprocess
import time
import typing as t

from gitlab_ctl import bundled_postgresql, layout, services
from gitlab_ctl.recipes import runit
from gitlab_ctl.resources import Converge, ResourceError
from gitlab_ctl.settings import Settings

_DATA = layout.POSTGRESQL / "data"
ADMIN = "gitlab-psql"
_BIN = layout.EMBEDDED / "bin"
_READY_WITHIN_SECONDS = 60.0
_EXTENSIONS = ("pg_trgm", "btree_gist")


def provide_client(run: Converge, settings: Settings) -> None:
    """What gitlab-psql needs; also there on nodes without a database, where it then finds no socket (facts 5.1)."""
    run.recipe("postgresql::bin")
    bundled_postgresql.follow_data()
    run.user(ADMIN, layout.POSTGRESQL, "/bin/sh")
    run.template(layout.PSQL_RC, _psql_rc(settings))


def enable(run: Converge, settings: Settings) -> None:
    run.recipe("postgresql::enable")
    run.directory(layout.POSTGRESQL, ADMIN)
    run.directory(_DATA, ADMIN, 0o700)
    initdb = ["chpst", "-u", ADMIN, str(_BIN / "initdb"), "-D", str(_DATA), "-E", "UTF8", "--locale", "C", "--no-sync"]
    run.execute(" ".join(initdb[3:]), initdb, unless=(_DATA / "PG_VERSION").exists())
    if configure(run, settings):
        runit.restart_later(run, "postgresql")
    interrupt = "exec /opt/gitlab/embedded/bin/sv interrupt /opt/gitlab/service/postgresql"
    command = f"umask 077\nexec chpst -U {ADMIN} -u {ADMIN} {_BIN}/postgres -D {_DATA}"
    runit.enable(run, runit.Service("postgresql", command, {"t": interrupt}))


def configure(run: Converge, settings: Settings) -> bool:
    """Write the configuration of the cluster that is there, and answer whether it was another one."""
    changed = [
        run.template(_DATA / "postgresql.conf", _configuration(settings), ADMIN, 0o644),
        run.template(_DATA / "pg_hba.conf", _access(settings), ADMIN, 0o644),
        run.template(_DATA / "pg_ident.conf", "gitlab  git  gitlab\ngitlab  /^(.*)$  \\1\n", ADMIN, 0o644),
    ]
    return any(changed)


def populate(run: Converge, settings: Settings) -> None:
    """Make roles and databases, where the server is up; a stopped one is left to the migrations to complain about."""
    if services.is_up("postgresql"):
        _await_connections(run, settings)
        _create_databases(run, settings)


def _configuration(settings: Settings) -> str:
    """Small on purpose: dozens of these hosts run on one machine, and none holds data worth an fsync."""
    options: dict[str, t.Any] = {
        "listen_addresses": settings.get("postgresql", "listen_address", default=""),
        "port": settings.postgresql_port,
        "unix_socket_directories": layout.POSTGRESQL,
        "max_connections": settings.get("postgresql", "max_connections", default=60),
        "shared_buffers": settings.get("postgresql", "shared_buffers", default="32MB"),
        "password_encryption": "md5",
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "max_wal_size": "256MB",
        "min_wal_size": "32MB",
        "autovacuum_max_workers": 1,
        "log_line_prefix": "",
        "datestyle": "iso, mdy",
        "timezone": "UTC",
    }
    return "".join(f"{name} = '{value}'\n" for name, value in options.items())


def _access(settings: Settings) -> str:
    lines = ["local all all peer map=gitlab"]
    for method in ("trust", "md5"):
        for network in settings.get("postgresql", f"{method}_auth_cidr_addresses", default=[]):
            lines.append(f"host all all {network} {method}")
    return "\n".join(lines) + "\n"


def _psql_rc(settings: Settings) -> str:
    main = settings.databases[0].database
    return (
        f"psql_user='{ADMIN}'\npsql_group='{ADMIN}'\npsql_host='{layout.POSTGRESQL}'\n"
        f"psql_port='{settings.postgresql_port}'\npsql_dbname='{main}'\n"
    )


def _await_connections(run: Converge, settings: Settings) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    while subprocess.run(_psql(settings, "template1", "SELECT 1"), capture_output=True, check=False).returncode != 0:
        if time.monotonic() > deadline:
            text = f"PostgreSQL did not respond before service checks were exhausted ({_READY_WITHIN_SECONDS:.0f} s)"
            raise ResourceError("ruby_block[wait for postgresql to start]", "run", "RuntimeError", text)
        time.sleep(0.1)
    run.record("ruby_block[wait for postgresql to start]", "run")


def _create_databases(run: Converge, settings: Settings) -> None:
    role = settings.get("gitlab_rails", "db_username", default="gitlab")
    exists = f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"
    run.execute(
        f"create {role} database user",
        _psql(settings, "template1", f'CREATE ROLE "{role}" LOGIN'),
        unless=_finds(settings, "template1", exists),
    )
    password = settings.get("postgresql", "sql_user_password")
    if password:
        stored = f"SELECT 1 FROM pg_authid WHERE rolname = '{role}' AND rolpassword = 'md5{password}'"
        change = _psql(settings, "template1", f"ALTER ROLE \"{role}\" PASSWORD 'md5{password}'")
        run.execute(f"set password for {role} database user", change, unless=_finds(settings, "template1", stored))
    for name in (database.database for database in settings.databases if database.has_tasks):
        exists = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
        create = _psql(settings, "template1", f'CREATE DATABASE "{name}" OWNER "{role}"')
        run.execute(f"create database {name}", create, unless=_finds(settings, "template1", exists))
        for extension in _EXTENSIONS:
            exists = f"SELECT 1 FROM pg_extension WHERE extname = '{extension}'"
            create = _psql(settings, name, f"CREATE EXTENSION IF NOT EXISTS {extension}")
            run.execute(f"enable {extension} extension on {name}", create, unless=_finds(settings, name, exists))


def _finds(settings: Settings, database: str, query: str) -> bool:
    return (
        subprocess.run(_psql(settings, database, query), capture_output=True, text=True, check=False).stdout.strip()
        == "1"
    )


def _psql(settings: Settings, database: str, statement: str) -> list[str]:
    socket = ["-h", str(layout.POSTGRESQL), "-p", str(settings.postgresql_port), "-d", database]
    return ["chpst", "-u", ADMIN, str(_BIN / "psql"), *socket, "-XAtq", "-c", statement]
