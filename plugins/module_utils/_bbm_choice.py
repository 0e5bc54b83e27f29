# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The options that name a batched background migration (doc fragment C(migration))."""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Key, Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import job_arguments_json

# Of each of these one names a migration; modules add further ways.
WAYS = ("migration", "job_class_name")
TOGETHER = Key._fields


def argument_spec(**options: t.Any) -> dict[str, t.Any]:
    """Return the options, plus ``options``."""
    return {
        "migration": {"type": "str"},
        "job_class_name": {"type": "str"},
        "table_name": {"type": "str"},
        "column_name": {"type": "str"},
        "job_arguments": {"type": "raw"},
        "database": {"type": "str"},
        **options,
    }


def named(params: t.Mapping[str, t.Any]) -> Selection | None:
    """Return the migration that the options name, or None when they name none.

    :raises GitLabError: a part of the name is empty, or the arguments are no list.
    """
    if params["migration"] is not None:
        return Selection(id=params["migration"], database=params["database"])
    if params["job_class_name"] is None:
        return None
    refuse_empty(params)
    job_arguments_json(params["job_arguments"])
    return Selection(key=Key(*(params[name] for name in TOGETHER)), database=params["database"])


def refuse_empty(params: t.Mapping[str, t.Any]) -> None:
    """Raise :class:`GitLabError` for a name that is given and empty, as an undefined variable's default often is."""
    for name in ("job_class_name", "table_name", "column_name"):
        if params.get(name) is not None and not params[name].strip():
            raise GitLabError(
                f"{name} is empty.", "Give it as bbm_status shows it, or leave it out; no migration has an empty one."
            )
