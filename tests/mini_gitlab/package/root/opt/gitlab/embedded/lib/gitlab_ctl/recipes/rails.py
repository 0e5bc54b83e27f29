# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Rails application needs on the node: accounts, directories, secrets, database.yml, rc file, environment."""

from __future__ import annotations

import json
import secrets
import typing as t

from gitlab_ctl import layout
from gitlab_ctl.recipes import runit, storage
from gitlab_ctl.resources import Converge
from gitlab_ctl.settings import Database, Settings

USER = storage.USER
_ETC = layout.RAILS_DATA / "etc"


def enable(run: Converge, settings: Settings) -> None:
    run.recipe("gitlab::gitlab-rails")
    _directories(run)
    storage.provide(run, settings)
    _secrets(run)
    changed = [
        run.template(_ETC / "database.yml", database_yml(settings), "root", 0o640, USER),
        run.template(_ETC / "resque.yml", f"production:\n  url: {_redis_url(settings)}\n", "root", 0o644),
        run.template(_ETC / "gitlab.yml", storage.gitlab_yml(settings), "root", 0o640, USER),
        _environment(run, settings),
        run.template(layout.RAILS_DATA / "VERSION", (layout.RAILS_ROOT / "VERSION").read_text(encoding="utf-8")),
    ]
    for name in ("database.yml", "resque.yml", "gitlab.yml"):
        run.link(layout.RAILS_ROOT / "config" / name, _ETC / name)
    run.template(
        layout.RAILS_RC,
        f"gitlab_user='{USER}'\ngitlab_group='{USER}'\n{storage.rc_lines(settings)}",
    )
    if any(changed):
        restart_dependents(run)


def restart_dependents(run: Converge) -> None:
    """What runs the application's code restarts at the end of the run, where it is up."""
    for name in ("puma", "sidekiq"):
        runit.restart_later(run, name)


def enable_puma(run: Converge, settings: Settings) -> None:
    run.recipe("gitlab::puma")
    reload = "kill -USR2 $(cat /opt/gitlab/service/puma/supervise/pid)"
    listen = settings.get("puma", "listen", default="127.0.0.1")
    port = settings.get("puma", "port", default=8080)
    command = f"export PUMA_BIND=tcp://{listen}:{port}\n{_in_application('puma -C config/puma.rb')}"
    runit.enable(run, runit.Service("puma", command, {"h": reload}))


def enable_sidekiq(run: Converge) -> None:
    run.recipe("gitlab::sidekiq")
    runit.enable(run, runit.Service("sidekiq", _in_application("bin/sidekiq")))


def database_yml(settings: Settings) -> str:
    """The file as the package writes it: with a password line, and flat where releases did not name databases yet."""
    databases = settings.databases
    if not settings.release.names_main_database and len(databases) == 1:
        return "production:\n" + _database_entry(settings, databases[0], "  ")
    return "production:\n" + "".join(
        f"  {entry.name}:\n" + _database_entry(settings, entry, "    ") for entry in databases
    )


def _database_entry(settings: Settings, entry: Database, indent: str) -> str:
    options: dict[str, t.Any] = {
        "adapter": "postgresql",
        "encoding": "unicode",
        "collation": None,
        "database": entry.database,
        "username": settings.get("gitlab_rails", "db_username", default="gitlab"),
        "password": settings.get("gitlab_rails", "db_password"),
        "host": settings.database_host,
        "port": settings.database_port,
        "socket": None,
        "sslmode": None,
        "load_balancing": {"hosts": []},
        "prepared_statements": False,
        "statement_limit": 1000,
        "connect_timeout": None,
        "variables": {"statement_timeout": None},
    }
    if not entry.has_tasks:
        options["database_tasks"] = False
    return "".join(
        f"{indent}{name}: {'' if value is None else json.dumps(value)}".rstrip() + "\n"
        for name, value in options.items()
    )


def _directories(run: Converge) -> None:
    run.directory(layout.RAILS_DATA, USER)
    for path, mode in (
        (_ETC, 0o755),
        (layout.UPGRADE_STATUS, 0o700),
        (layout.LOGS / "gitlab-rails", 0o700),
        (layout.RAILS_ROOT / "tmp", 0o755),
        (layout.LOGS / "puma", 0o700),
        (layout.LOGS / "sidekiq", 0o700),
    ):
        run.directory(path, USER, mode)


def _secrets(run: Converge) -> None:
    """The keys that a restored database is worthless without; made once and never changed."""
    content = (
        layout.SECRETS.read_text(encoding="utf-8")
        if layout.SECRETS.exists()
        else json.dumps(
            {
                "gitlab_workhorse": {"secret_token": secrets.token_urlsafe(32)},
                "gitlab_shell": {"secret_token": secrets.token_hex(64)},
                "gitlab_rails": {
                    name: secrets.token_hex(64) for name in ("secret_key_base", "db_key_base", "otp_key_base")
                },
            },
            indent=2,
        )
    )
    run.template(layout.SECRETS, content, mode=0o600)


def _redis_url(settings: Settings) -> str:
    host = settings.get("gitlab_rails", "redis_host")
    if host is None:
        return f"unix:{layout.REDIS}/redis.socket"
    return f"redis://{host}:{settings.get('gitlab_rails', 'redis_port', default=6379)}"


def _environment(run: Converge, settings: Settings) -> bool:
    """One file for each variable, as chpst reads them; what gitlab.rb no longer names goes away."""
    variables = {
        "HOME": str(layout.DATA),
        "LANG": "C.UTF-8",
        "PATH": f"{layout.ROOT}/bin:{layout.EMBEDDED}/bin:/usr/local/bin:/usr/bin:/bin",
        "RAILS_ENV": "production",
        "BUNDLE_GEMFILE": f"{layout.RAILS_ROOT}/Gemfile",
        **settings.get("gitlab_rails", "env", default={}),
    }
    run.directory(layout.RAILS_ENVIRONMENT.parent)
    run.directory(layout.RAILS_ENVIRONMENT)
    changed = [run.template(layout.RAILS_ENVIRONMENT / name, str(value)) for name, value in sorted(variables.items())]
    for stale in sorted(layout.RAILS_ENVIRONMENT.iterdir()):
        if stale.name not in variables:
            stale.unlink()
            changed.append(run.record(f"file[{stale}]", "delete", f"delete file {stale}"))
    return any(changed)


def _in_application(command: str) -> str:
    return (
        f"cd {layout.RAILS_ROOT}\nexec chpst -e {layout.RAILS_ENVIRONMENT} -u {USER}:{USER} -U {USER}:{USER} {command}"
    )
