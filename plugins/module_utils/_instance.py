# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    PsqlSession,
    Psycopg2Session,
    Session,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import ModuleRunner
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import (
    Topology,
    build_topology,
    parse_database_yml,
    topology_from_option,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PSQL = "gitlab-psql"
PSYCOPG2 = "psycopg2"

PSYCOPG2_IMPORT_ERROR: str | None = None
try:
    import psycopg2
except ImportError:
    PSYCOPG2_IMPORT_ERROR = traceback.format_exc()


def argument_spec(**options: t.Any) -> dict[str, t.Any]:
    """Return the options that say which instance is meant (doc fragment C(instance)), plus ``options``."""
    spec: dict[str, t.Any] = {
        "install_type": {"type": "str", "choices": ["omnibus", "source"], "default": "omnibus"},
        "rails_root": {"type": "path"},
        "databases": {"type": "dict"},
        "database_backend": {"type": "str", "choices": [PSQL, PSYCOPG2], "default": PSQL},
        "login_host": {"type": "str"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str", "default": "gitlab"},
        "login_password": {"type": "str", "no_log": True},
        "ssl_mode": {
            "type": "str",
            "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
            "default": "prefer",
        },
    }
    spec.update(options)
    return spec


class Instance:
    """The GitLab instance that a module's options point at: its files, its databases and its commands."""

    def __init__(self, module: AnsibleModule) -> None:
        self._params: dict[str, t.Any] = module.params
        self.runner = ModuleRunner(module)
        self.installation = Installation.create(self._params["install_type"], self._params["rails_root"])
        self._topology: Topology | None = None
        self._sessions: dict[str, Session] = {}

    @property
    def topology(self) -> Topology:
        """The databases: as the operator named them, or as the instance's own configuration says."""
        if self._topology is None:
            named = self._params["databases"]
            if named:
                self._topology = topology_from_option(named)
            else:
                self._topology = build_topology(parse_database_yml(self._read(self.installation.database_config)))
        return self._topology

    @property
    def version(self) -> GitLabVersion:
        """The version of the installed code."""
        return GitLabVersion.parse(self.version_text)

    @property
    def version_text(self) -> str:
        """The version of the installed code as GitLab writes it, which is how a backup must spell it."""
        return self._read(self.installation.version_file).strip()

    def session(self, name: str) -> Session:
        """Return the session for a database name such as C(main) or C(ci)."""
        database = self.topology.find(name)
        if database.name not in self._sessions:
            self._sessions[database.name] = self._open(database.name, database.dbname)
        return self._sessions[database.name]

    def sessions(self) -> list[Session]:
        """Return one session for each physical database, main first."""
        return [self.session(database.name) for database in self.topology.databases]

    def _open(self, name: str, dbname: str) -> Session:
        if self._params["database_backend"] == PSQL:
            return PsqlSession(self.runner, self.installation, name, dbname)
        if PSYCOPG2_IMPORT_ERROR is not None:
            raise GitLabError(
                missing_required_lib("psycopg2", reason="for database_backend: psycopg2"),
                exception=PSYCOPG2_IMPORT_ERROR,
            )
        try:
            connection = psycopg2.connect(
                dbname=dbname,
                host=self._params["login_host"],
                port=self._params["login_port"],
                user=self._params["login_user"],
                password=self._params["login_password"],
                sslmode=self._params["ssl_mode"],
                connect_timeout=10,
                application_name="gitlab_fleet.upgrade",
            )
        except psycopg2.Error as error:
            raise GitLabError(
                f"The database {dbname} does not answer: {str(error).strip()}.",
                "Check login_host, login_port, login_user and login_password, and that PostgreSQL runs there.",
                database=dbname,
            ) from error
        return Psycopg2Session(connection, name, dbname)

    def _read(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise GitLabError(
                f"Cannot read {path}: {error.strerror}.",
                "Check that GitLab is installed and configured on this host, and run as root (become: true).",
                path=path,
            ) from error
