# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /etc/gitlab/gitlab.rb asks for, with the package's defaults (facts 1.6, 5.1)."""

from __future__ import annotations

import json
import subprocess
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gitlab_ctl import layout
from gitlab_ctl.release import Release

_READER = Path(__file__).with_name("read_gitlab_rb.rb")
_MISSING = object()


class ConfigurationError(Exception):
    """gitlab.rb cannot be evaluated; the message is Ruby's."""


@dataclass(frozen=True)
class Database:
    """One entry of database.yml.

    ``has_tasks`` is false for a second connection to a database that another entry already migrates.
    """

    name: str
    database: str
    has_tasks: bool


@dataclass(frozen=True)
class Settings:
    """The evaluated gitlab.rb.

    :ivar values: nested mapping exactly as gitlab.rb left it, for example ``{"puma": {"enable": False}}``.
    """

    release: Release
    values: t.Mapping[str, t.Any] = field(default_factory=dict)

    def get(self, *path: str, default: t.Any = None) -> t.Any:
        """The value at `path`, or `default` where gitlab.rb is silent or says nil."""
        value: t.Any = self.values
        for key in path:
            value = value.get(key, _MISSING) if isinstance(value, t.Mapping) else _MISSING
            if value is _MISSING:
                return default
        return default if value is None else value

    @property
    def external_url(self) -> str:
        return str(self.get("external_url", default="http://gitlab.example.com"))

    @property
    def has_rails(self) -> bool:
        return bool(self.get("gitlab_rails", "enable", default=True))

    @property
    def migrates(self) -> bool:
        return self.has_rails and bool(self.get("gitlab_rails", "auto_migrate", default=True))

    def enables(self, service: str) -> bool:
        """Whether this node runs `service`. Without Rails nothing that needs it runs, unless asked for by name."""
        needs_rails = service in ("puma", "sidekiq", "nginx")
        return bool(self.get(service, "enable", default=self.has_rails or not needs_rails))

    @property
    def database_host(self) -> str:
        """A host name or, by default, the directory of the packaged PostgreSQL's socket."""
        return str(self.get("gitlab_rails", "db_host", default=str(layout.POSTGRESQL)))

    @property
    def database_port(self) -> int:
        return int(self.get("gitlab_rails", "db_port", default=self.postgresql_port))

    @property
    def postgresql_port(self) -> int:
        return int(self.get("postgresql", "port", default=5432))

    @property
    def databases(self) -> list[Database]:
        """main first, then the enabled further ones; ci is there by default from 16.0."""
        main = str(self.get("gitlab_rails", "db_database", default="gitlabhq_production"))
        found = [Database("main", main, has_tasks=True)]
        for name in ("ci", "sec"):
            by_default = name == "ci" and self.release.connects_to_ci
            if self.get("gitlab_rails", "databases", name, "enable", default=by_default):
                database = str(self.get("gitlab_rails", "databases", name, "db_database", default=main))
                shared = any(database == other.database for other in found)
                found.append(Database(name, database, has_tasks=not shared))
        return found


def read(path: Path, release: Release) -> Settings:
    """Evaluate a gitlab.rb.

    :raises ConfigurationError: Ruby refuses the file.
    """
    answer = subprocess.run(
        ["/opt/gitlab/embedded/bin/ruby", str(_READER), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise ConfigurationError(answer.stderr.strip())
    return Settings(release, json.loads(answer.stdout))
