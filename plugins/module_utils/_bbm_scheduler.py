# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import ACTIVE, BatchedMigration
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import parse_moment

if t.TYPE_CHECKING:
    from datetime import datetime

    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

ON_SCHEDULE = "execute_batched_migrations_on_schedule"
OPTIMIZE = "optimize_batched_migrations"
PARALLEL = "batched_migrations_parallel_execution"
NO_DDL_FLAGS = "disallow_database_ddl_feature_flags"

Minor = t.Tuple[int, int]


class FlagHistory(t.NamedTuple):
    """A feature flag's life: the version that brought it, its default by version, and what holds after its removal."""

    since: Minor
    defaults: tuple[tuple[Minor, bool], ...]
    removed: Minor | None = None


# config/feature_flags/ops/*.yml of GitLab's repository.
FLAGS: t.Mapping[str, FlagHistory] = {
    ON_SCHEDULE: FlagHistory((13, 11), (((13, 11), False), ((13, 12), True))),
    OPTIMIZE: FlagHistory((13, 12), (((13, 12), True),), removed=(18, 4)),
    PARALLEL: FlagHistory((15, 7), (((15, 7), False), ((16, 1), True)), removed=(16, 1)),
    NO_DDL_FLAGS: FlagHistory((16, 4), (((16, 4), False),)),
}


@dataclass(frozen=True)
class Flag:
    """The effective state of a feature flag. ``enabled`` is None where this version has no such flag, or only for some."""

    enabled: bool | None
    # An administrator set it: a row exists.
    set: bool


@dataclass(frozen=True)
class Scheduler:
    """What decides whether and how many batched background migrations run by themselves."""

    flags: t.Mapping[str, Flag]
    # None where the version has no such setting.
    max_running: int | None

    @property
    def stopped_by(self) -> str | None:
        """The reason why nothing is scheduled at all."""
        if self.flags[ON_SCHEDULE].enabled is False:
            return (
                f"the feature flag {ON_SCHEDULE} is off, so that Sidekiq starts no batch"
                f" (gitlab-rails runner 'Feature.enable(:{ON_SCHEDULE})')"
            )
        if self.flags[NO_DDL_FLAGS].enabled:
            return (
                f"the feature flag {NO_DDL_FLAGS} is on, which stops all batched background migrations"
                f" (gitlab-rails runner 'Feature.disable(:{NO_DDL_FLAGS})')"
            )
        return None

    @property
    def slots(self) -> int:
        """How many migrations of one database run side by side."""
        if self.flags[PARALLEL].enabled is False or self.max_running is None:
            return 1
        return self.max_running

    def to_result(self) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {
            name: {"enabled": flag.enabled, "set": flag.set} for name, flag in self.flags.items()
        }
        result["max_running"] = self.max_running
        return result


def read_scheduler(version: GitLabVersion | None, answers: t.Mapping[str, t.Any]) -> Scheduler:
    """Read the flags and the limit from the answers of the database main; without a version no default is known."""
    rows: t.Mapping[str, list[list[str]]] | None = answers.get("flags")
    max_running = answers.get("max_running")
    return Scheduler(
        {name: _flag(name, version.minor if version else None, rows) for name in FLAGS},
        int(max_running) if max_running is not None else None,
    )


def running_now(
    migrations: t.Iterable[BatchedMigration], scheduler: Scheduler, now: datetime
) -> tuple[list[BatchedMigration], list[BatchedMigration]]:
    """Split the active migrations of one database: those that the scheduler runs, and those that wait for their turn.

    By id, one for each table, as many as there are slots; one that is on hold takes no slot.
    """
    running: list[BatchedMigration] = []
    waiting: list[BatchedMigration] = []
    for migration in sorted(migrations, key=lambda entry: entry.row_id):
        if migration.status != ACTIVE or on_hold_until(migration, now):
            continue
        busy = {entry.table_name for entry in running}
        if len(running) < scheduler.slots and migration.table_name not in busy:
            running.append(migration)
        else:
            waiting.append(migration)
    return running, waiting


def on_hold_until(migration: BatchedMigration, now: datetime) -> datetime | None:
    """Return until when the migration is on hold, if it still is."""
    until = parse_moment(migration.row.get("on_hold_until"))
    return until if until and until > now else None


def _flag(name: str, minor: Minor | None, rows: t.Mapping[str, list[list[str]]] | None) -> Flag:
    history = FLAGS[name]
    default: bool | None = None
    for since, value in history.defaults:
        if minor is not None and minor >= since:
            default = value
    gates = (rows or {}).get(name)
    if minor is not None and history.removed is not None and minor >= history.removed:
        # The code asks it no more; what it switched is always on.
        return Flag(True, False)
    if minor is not None and minor < history.since:
        return Flag(None, gates is not None)
    if rows is None:
        return Flag(None, False)
    if gates is None:
        return Flag(default, False)
    if ["boolean", "true"] in gates:
        return Flag(True, True)
    # Rows of a gate for some actors or a percentage: neither on nor off.
    return Flag(None if gates else False, True)
