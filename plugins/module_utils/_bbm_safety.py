# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_remedy
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_known import (
    DEADLINES,
    LAST_WITH_BACKGROUND_MIGRATIONS,
    STUCK,
    ignorable,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._sidekiq_waiting import NOT_ASKED, Waiting

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

# How many migrations a reason names before it counts the rest.
NAMED = 5

# 18.5 to 18.9 marked migrations of tables with one row finished without running them. The schema migration
# 20260302103000 and the one after it, both of 18.10, run them; 18.9.0 and 18.9.1 fail with CheckViolation over such rows.
FIRST_WITH_REPAIR = (18, 10)

# In the order in which reasons are given.
_STATES = ("paused", "active", "failed", "finalizing")


def unsafe_reasons(
    version: GitLabVersion | None,
    migrations: t.Sequence[BatchedMigration],
    background: t.Mapping[str, int] | None,
    unproven: t.Sequence[BatchedMigration],
    standbys: t.Sequence[str],
    schema_down: t.Mapping[str, t.Sequence[str] | None],
    sidekiq: Waiting | None,
) -> list[str]:
    """Say what keeps the instance from being upgraded; nothing only if everything is proven.

    ``background`` are the pending non-batched migrations by class, None if a database could not tell them.
    ``unproven`` are finished migrations of which nothing shows that they ran, ``standbys`` the databases that answered
    from a standby, ``schema_down`` the versions of the installed code's schema migrations that are down, by database,
    None where there were no files to compare with; ``sidekiq`` is what waits there of the non-batched kind. What was not
    asked is left to :func:`unasked`.
    """
    unfinished: dict[str, list[BatchedMigration]] = {}
    for migration in blocking(version, migrations):
        unfinished.setdefault(migration.state, []).append(migration)
    unknown = sorted(state for state in unfinished if not _bbm_remedy.known(state))
    reasons = [
        f"{_count(unfinished[state])} {state if state in _STATES else f'in {_bbm_remedy.UNKNOWN} ({state})'}:"
        f" {_names(unfinished[state])}; {_bbm_remedy.remedy(state, [one.id for one in unfinished[state]], version)}"
        for state in (*_STATES, *unknown)
        if state in unfinished
    ]
    if background:
        reasons += _pending(background, version)
    if background is None and (version is None or version.minor <= LAST_WITH_BACKGROUND_MIGRATIONS):
        reasons.append(
            "whether non-batched background migrations are pending could not be read:"
            " a database has no table background_migration_jobs"
        )
    if sidekiq and sidekiq.total:
        reasons.append(_in_sidekiq(sidekiq))
    if unproven:
        reasons.append(_skipped(version, unproven))
    reasons += [
        f"the database {name} was read from a standby, which can lag behind; run this on the PostgreSQL primary"
        for name in standbys
    ]
    return reasons + [_down(name, versions) for name, versions in schema_down.items() if versions]


def unasked(
    version: GitLabVersion | None, schema_down: t.Mapping[str, t.Sequence[str] | None], sidekiq: Waiting | None
) -> list[str]:
    """Say what keeps the instance from being proven safe because it could not be asked, and who can ask it."""
    reasons = []
    not_compared = [name for name, versions in schema_down.items() if versions is None]
    if not_compared:
        reasons.append(
            f"whether schema migrations of {', '.join(not_compared)} are down was not asked: GitLab's code, with the files to"
            " compare, is not on the host that was asked; run this, or db_migrate_status, on the deploy node"
        )
    if (version is None or version.minor <= LAST_WITH_BACKGROUND_MIGRATIONS) and (
        not sidekiq or sidekiq.numbers is None
    ):
        reasons.append(
            f"whether non-batched background migrations wait in Sidekiq was not asked ({(sidekiq or NOT_ASKED).why}); run"
            " background_migrations, which asks GitLab itself"
        )
    return reasons


def _skipped(version: GitLabVersion | None, unproven: t.Sequence[BatchedMigration]) -> str:
    what = (
        f"{_count(unproven)} finished without a job on a table that has rows: {_names(unproven)};"
        " GitLab 18.5 to 18.9 marked migrations of tables with one row finished and did not run them"
    )
    if version is not None and version.minor >= FIRST_WITH_REPAIR:
        return f"{what}. The schema migrations of this version run them: run db_migrate"
    return (
        f"{what}. Neither waiting nor bbm_finalize helps: the cure is the upgrade to 18.10 or later (the next stop is 18.11,"
        " its newest patch), whose schema migrations run them. When this is the only reason, make a backup and upgrade all"
        " the same, but not to 18.9.0 or 18.9.1, which fail on such rows (CheckViolation)"
    )


def _in_sidekiq(sidekiq: Waiting) -> str:
    numbers = ", ".join(f"{number} {place}" for place, number in (sidekiq.numbers or {}).items() if number)
    return (
        f"non-batched background migrations wait in Sidekiq: {numbers}; run background_migrations to see which, and let Sidekiq work"
        " them off or clear them (state: cleared; retry_dead_jobs: true for those that failed and are to be tried again)"
    )


def blocking(version: GitLabVersion | None, migrations: t.Iterable[BatchedMigration]) -> list[BatchedMigration]:
    """Return the unfinished migrations that keep the instance from being upgraded."""
    return [
        migration
        for migration in migrations
        if not migration.done and not ignorable(migration.job_class_name, migration.state, version)
    ]


def ignored(version: GitLabVersion | None, migrations: t.Iterable[BatchedMigration]) -> list[str]:
    """Say which unfinished migrations are no reason, and why."""
    found = ((migration, ignorable(migration.job_class_name, migration.state, version)) for migration in migrations)
    return [f"{migration.label} has failed: {one.text}" for migration, one in found if one]


def _pending(background: t.Mapping[str, int], version: GitLabVersion | None) -> list[str]:
    stuck = sorted(name for name in background if name in STUCK)
    others = sorted(name for name in background if name not in STUCK)
    reasons = []
    if others:
        classes = ", ".join(f"{name} ({background[name]})" for name in others)
        reasons.append(
            f"non-batched background migrations are pending: {classes}; wait until Sidekiq has worked them off, or re-attempt"
            " them (background_migrations with state: cleared)"
        )
    if stuck:
        classes = ", ".join(f"{name} ({background[name]})" for name in stuck)
        reasons.append(
            f"non-batched background migrations are pending that are known to stick: {classes}; clear them"
            f" (background_migrations with state: cleared and apply_remedies: [{', '.join(stuck)}])"
        )
    reasons += [
        f"{name} must be done before GitLab {deadline.before[0]}.{deadline.before[1]}, whose db:migrate would run it, for hours"
        for name, deadline in DEADLINES.items()
        if name in background and version and version.minor < deadline.before
    ]
    return reasons


def _down(database: str, versions: t.Sequence[str]) -> str:
    noun = "schema migration" if len(versions) == 1 else "schema migrations"
    rest = f" and {len(versions) - NAMED} more" if len(versions) > NAMED else ""
    return (
        f"{len(versions)} {noun} of {database} {'is' if len(versions) == 1 else 'are'} down:"
        f" {', '.join(versions[:NAMED])}{rest}; run them (db_migrate, or the playbook roll_forward)"
    )


def _count(migrations: t.Sequence[BatchedMigration]) -> str:
    return (
        "1 batched background migration is"
        if len(migrations) == 1
        else f"{len(migrations)} batched background migrations are"
    )


def _names(migrations: t.Sequence[BatchedMigration]) -> str:
    named = ", ".join(migration.label for migration in migrations[:NAMED])
    rest = len(migrations) - NAMED
    return f"{named} and {rest} more" if rest > 0 else named
