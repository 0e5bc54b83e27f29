# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe, _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_status import (
    Reading,
    Selection,
    filter_options,
    status,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import (
    PSQL,
    Instance,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import argument_spec as instance_options
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import migration_files
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import read_record

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Options = t.Mapping[str, t.Any]


def argument_spec(**options: t.Any) -> dict[str, t.Any]:
    """Return the options of C(bbm_status), plus ``options``."""
    return instance_options(**filter_options(), **options)


def probe_command(options: Options) -> tuple[list[str], str]:
    """Return the command that asks an instance everything in one trip, and what it wants on stdin.

    :raises GitLabError: an option cannot be used.
    """
    return _probe.command(_installation(options), options["databases"]), _probe.question(PARTS)


def status_from_probe(output: str, options: Options) -> dict[str, t.Any]:
    """Return the result of C(bbm_status) from what :func:`probe_command` printed.

    :raises GitLabError: GitLab or a database did not answer, or what is selected does not exist.
    """
    answer = _probe.read(output, _installation(options), options["databases"])
    readings = [Reading(database, answer.parts[database.name]) for database in answer.topology.databases]
    selection = Selection.from_options(options, answer.topology)
    result = status(answer.version, readings, selection, answer.rolling_back, answer.sidekiq)
    return dict(result, commands=answer.commands)


def read_status(module: AnsibleModule) -> dict[str, t.Any]:
    """Return the result of C(bbm_status) for the instance that the module's options point at.

    :raises GitLabError: GitLab or a database did not answer, or what is selected does not exist.
    """
    instance = Instance(module)
    if module.params["database_backend"] == PSQL:
        argv, question = probe_command(module.params)
        return status_from_probe(instance.runner.run(argv, stdin=question).stdout, module.params)
    files = _file_versions(instance.installation)
    readings = [
        Reading(database, instance.session(database.name).read(PARTS, migration_files=files))
        for database in instance.topology.databases
    ]
    version = _version(instance)
    # Where GitLab's code is not, neither is the record.
    rolling_back = _rolling_back.target(read_record(_rolling_back.RECORD)) if version else None
    result = status(version, readings, Selection.from_options(module.params, instance.topology), rolling_back)
    return dict(result, commands=[])


def _installation(options: Options) -> Installation:
    return Installation.create(options["install_type"], options["rails_root"])


def _file_versions(installation: Installation) -> str:
    """Return the versions of the migration files, or nothing if GitLab's code is not on this host."""
    try:
        return " ".join(file.version for file in migration_files(installation.rails_root))
    except GitLabError:
        return ""


def _version(instance: Instance) -> str | None:
    """Return the version if GitLab's code is on this host; an external database is often asked from elsewhere."""
    try:
        return str(instance.version)
    except GitLabError:
        return None
