# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The settings of the scheduler of batched background migrations: which exist in a version, and what is to be set.

Flags are set by Feature, the number by ApplicationSetting: SQL would leave GitLab's caches as they are.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_scheduler import (
    FLAGS,
    ON_SCHEDULE,
    OPTIMIZE,
    PARALLEL,
    Minor,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import FLAGS as FLAG_ROWS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import MAX_RUNNING as MAX_RUNNING_ROW
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

MAX_RUNNING = "max_running"
SWITCHES = (ON_SCHEDULE, OPTIMIZE, PARALLEL)
NAMES = (*SWITCHES, MAX_RUNNING)
FIRST_WITH_MAX_RUNNING = (15, 7)

# The column is an integer of PostgreSQL: application_settings.database_max_running_batched_background_migrations.
MOST_RUNNING = 2**31 - 1

# What was put away, in the collection's folder on the host.
RECORD = "bbm_settings.json"

# True, False, the number, or None for what nobody set.
Value = t.Union[bool, int, None]


@dataclass(frozen=True)
class Settings:
    """What is stored, by name. A flag that is on for some only is in ``partial`` and nowhere else."""

    values: t.Mapping[str, Value]
    partial: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What was stored before this collection set something, and all that it has tried to set since."""

    former: t.Mapping[str, Value] = field(default_factory=dict)
    tried: t.Mapping[str, t.Sequence[Value]] = field(default_factory=dict)

    @classmethod
    def read(cls, record: t.Mapping[str, t.Any] | None) -> Record:
        """Read the record as it is kept.

        :raises GitLabError: it is another thing.
        """
        if record is None:
            return cls()
        former, tried = record.get("former"), record.get("tried")
        if not isinstance(former, dict) or not isinstance(tried, dict) or set(former) != set(tried):
            raise _unreadable(f"it has {', '.join(sorted(map(str, record))) or 'nothing'}")
        if not set(former) <= set(NAMES) or not all(isinstance(values, list) for values in tried.values()):
            raise _unreadable(f"it names {', '.join(sorted(map(str, former)))}")
        return cls(former, tried)

    def to_json(self) -> dict[str, t.Any]:
        return {"former": dict(self.former), "tried": {name: list(values) for name, values in self.tried.items()}}

    def with_change(self, todo: t.Mapping[str, Value], stored: Settings) -> Record:
        """Return the record for what is about to be set.

        What an earlier, interrupted run wrote wins: what is stored now may have been set by it.
        """
        former = {**{name: stored.values[name] for name in todo}, **self.former}
        tried = {name: list(self.tried.get(name, [])) for name in former}
        for name, value in todo.items():
            if value not in tried[name]:
                tried[name].append(value)
        return Record(former, tried)

    def to_put_back(self, stored: Settings) -> dict[str, Value]:
        """Return what is to be put back. A third value, neither the former one nor one that was tried, is somebody's own."""
        return {
            name: value
            for name, value in self.former.items()
            if name not in stored.partial and stored.values[name] in (value, *self.tried[name])
        }


def read(session: Session) -> Settings:
    """Return what the database main has stored."""
    answer = session.read([FLAG_ROWS, MAX_RUNNING_ROW])
    return parse(answer.get(FLAG_ROWS.name) or {}, answer.get(MAX_RUNNING_ROW.name))


def parse(gates: t.Mapping[str, t.Sequence[t.Sequence[str]]], max_running: int | None) -> Settings:
    """Read rows: no row of a flag is its default, a row with the boolean gate is on, one without any gate is off."""
    values: dict[str, Value] = {}
    partial = []
    for name in SWITCHES:
        rows = gates.get(name)
        if rows is None:
            values[name] = None
        elif ["boolean", "true"] in [list(row) for row in rows]:
            values[name] = True
        elif rows:
            partial.append(name)
        else:
            values[name] = False
    values[MAX_RUNNING] = max_running
    return Settings(values, tuple(partial))


def lifetime(name: str) -> tuple[Minor, Minor | None]:
    """Return the first version that has a setting, and the first that has it no more."""
    if name == MAX_RUNNING:
        return FIRST_WITH_MAX_RUNNING, None
    return FLAGS[name].since, FLAGS[name].removed


def exists(name: str, version: GitLabVersion) -> bool:
    since, removed = lifetime(name)
    return since <= version.minor and (removed is None or version.minor < removed)


def refuse(name: str, version: GitLabVersion) -> None:
    """Raise :class:`GitLabError` when this version does not have a setting."""
    if exists(name, version):
        return
    since, removed = lifetime(name)
    dots = "{}.{}".format
    if removed is None or version.minor < since:
        last = f" to before {dots(*removed)}" if removed else " on"
        meaning = f"It exists from {dots(*since)}{last}."
    else:
        meaning = (
            f"It existed from {dots(*since)} to before {dots(*removed)}; since then what it switched is always on."
        )
    raise GitLabError(f"GitLab {version} has no setting {name}. {meaning}", f"Leave {name} out for this instance.")


def wishes(options: t.Mapping[str, t.Any]) -> dict[str, Value]:
    """Return what is to be set, from the options: what they name, or a former state whose null removes a flag.

    :raises GitLabError: a value cannot be set.
    """
    restore = options.get("restore")
    wanted = (
        dict(restore) if restore is not None else {name: options[name] for name in NAMES if options[name] is not None}
    )
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise GitLabError(
            f"restore names {', '.join(map(str, unknown))}, which is no setting of this module.",
            "Give it what this module returned as former.",
        )
    for name, value in wanted.items():
        _check(name, value)
    if not wanted and restore is None:
        raise GitLabError("Nothing says what is to be set.", f"Give one of {', '.join(NAMES)}, or restore.")
    return wanted


def refuse_options(options: t.Mapping[str, t.Any], restored: str) -> None:
    """Refuse what has no meaning together.

    :raises GitLabError: an option contradicts the state.
    """
    if options["state"] != restored:
        return
    given = [name for name in (*NAMES, "restore") if options[name] is not None]
    given += ["remember"] if options["remember"] else []
    if given:
        raise GitLabError(
            f"{', '.join(given)} has no meaning with state: {restored}, which puts back what was remembered.",
            "Leave it out, or leave state out.",
        )


def differences(wanted: t.Mapping[str, Value], stored: Settings) -> dict[str, Value]:
    """Return the wishes that are not so already.

    :raises GitLabError: what is stored could not be put back.
    """
    for name in wanted:
        if name in stored.partial:
            raise GitLabError(
                f"The feature flag {name} is on for some actors or a percentage only, which could not be put back.",
                f"Decide by hand: gitlab-rails runner 'Feature.remove(:{name})' removes that.",
            )
    if MAX_RUNNING in wanted and stored.values[MAX_RUNNING] is None:
        raise GitLabError(
            "The instance has no row of application settings, or no column for max_running.",
            "Run the schema migrations (db_migrate), open the Admin area once, and run this again.",
        )
    return {name: value for name, value in wanted.items() if stored.values[name] != value}


def _unreadable(what: str) -> GitLabError:
    return GitLabError(
        f"The record {RECORD} is not one of former settings: {what}.",
        f"Look at /var/lib/gitlab_fleet_upgrade/{RECORD}, put back by hand what it speaks of, and remove it.",
    )


def _check(name: str, value: t.Any) -> None:
    if name == MAX_RUNNING:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_RUNNING:
            raise GitLabError(
                f"max_running is {value!r}.", f"Give a number from 1 to {MOST_RUNNING}; GitLab's own default is 2."
            )
    elif value is not None and not isinstance(value, bool):
        raise GitLabError(f"{name} is {value!r}.", "Give true or false, or in restore null for what was never set.")
