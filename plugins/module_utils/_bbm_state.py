# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""From which state a batched background migration may be taken to which. Decides, runs nothing.

GitLab's own models before 16.0 let everything through, a finished migration back to work among it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    ACTIVE,
    FAILED,
    FINALIZED,
    FINALIZING,
    FINISHED,
    JOBS_TABLE,
    PAUSED,
    STATES,
    TABLE,
    BatchedMigration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

# The Admin area's Retry, and retry_failed_jobs! with it.
FIRST_WITH_RETRY = (14, 3)

# The scheduler looks each minute.
CRON_SECONDS = 60

# From which states to which, and in which states there is nothing to do.
_FROM: t.Mapping[int, int] = {PAUSED: ACTIVE, ACTIVE: PAUSED, FINISHED: FAILED}
_ALREADY: t.Mapping[int, frozenset[int]] = {
    PAUSED: frozenset({PAUSED}),
    ACTIVE: frozenset({ACTIVE}),
    FINISHED: frozenset({FINISHED, FINALIZED}),
}

_INSTEAD: t.Mapping[int, str] = {
    PAUSED: "Resume it with bbm_state (state: active).",
    ACTIVE: "Sidekiq works on it, or will; see bbm_status, or finish it with bbm_finalize.",
    FINISHED: "It is done. To set it back to work could run code that the upgrade took away.",
    FAILED: "Give its failed jobs new attempts with bbm_retry, which sets it active.",
    FINALIZING: "A finalize was interrupted, or is at work; only bbm_finalize takes it further.",
    FINALIZED: "It is done for good. To set it back to work would run code that may be gone.",
}

# What no job ever covered. Jobs begin at the first key that there is, so that a gap between two of them is mostly one
# of the keys. Cursors (17.6 and later) cannot be compared like this.
UNCOVERED = Part(
    "uncovered",
    (TABLE, JOBS_TABLE),
    f"""
SELECT CASE WHEN (
    SELECT to_jsonb(m) ->> 'min_cursor' FROM {TABLE} AS m WHERE m.id = %(row_id)s::bigint) IS NOT NULL THEN 'null'::jsonb
  ELSE (
  SELECT jsonb_build_object(
    'count', count(*),
    'shown', coalesce(jsonb_agg(jsonb_build_array(g.first, g.last) ORDER BY g.first) FILTER (WHERE g.place <= 100), '[]'::jsonb))
  FROM (
    SELECT c.covered + 1 AS first, c.next - 1 AS last, row_number() OVER (ORDER BY c.next) AS place
    FROM (
      SELECT e.min_value AS next, max(e.max_value) OVER (
        ORDER BY e.min_value, e.max_value ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
      FROM (
        SELECT j.min_value, j.max_value FROM {JOBS_TABLE} AS j WHERE j.batched_background_migration_id = %(row_id)s::bigint
        UNION ALL
        SELECT b.min_value - 1, b.min_value - 1 FROM {TABLE} AS b WHERE b.id = %(row_id)s::bigint
        UNION ALL
        SELECT l.max_value + 1, l.max_value + 1 FROM {TABLE} AS l WHERE l.id = %(row_id)s::bigint) AS e) AS c
    WHERE c.next > c.covered + 1) AS g) END""",
)


def needs_change(migration: BatchedMigration, wanted: int) -> bool:
    """Say whether a migration must be changed to be in the state ``wanted`` (paused, active or finished).

    :raises GitLabError: it may not be taken there from where it is.
    """
    _known(migration)
    if migration.status in _ALREADY[wanted]:
        return False
    if migration.status == _FROM[wanted]:
        return True
    raise GitLabError(
        f"{migration.label} is {migration.state}: only a migration that is {STATES[_FROM[wanted]]} may be set to"
        f" {STATES[wanted]}.",
        _INSTEAD[migration.status],
        migration=migration.id,
    )


def refuse_retry(migration: BatchedMigration) -> None:
    """Raise :class:`GitLabError` when a migration has not failed."""
    _known(migration)
    if migration.status != FAILED:
        raise GitLabError(
            f"{migration.label} is {migration.state}: only a failed migration can be retried.",
            _INSTEAD[migration.status],
            migration=migration.id,
        )


def refuse_version(version: GitLabVersion) -> None:
    """Raise :class:`GitLabError` where GitLab has no Retry."""
    if version.minor < FIRST_WITH_RETRY:
        raise GitLabError(
            f"GitLab {version} has no Retry for a failed batched background migration; 14.3 and later have it.",
            "From 14.1 on bbm_finalize gives failed jobs new attempts and finishes the migration.",
        )


def window(seconds: int | None, migrations: t.Iterable[BatchedMigration]) -> int:
    """Return for how long no job may appear until a pause counts as confirmed.

    By default until the next batch of each would have been due: its interval, and the scheduler's own.

    :raises GitLabError: nobody can watch for so long.
    """
    if seconds is not None and seconds < 0:
        raise GitLabError(f"confirm_seconds cannot be {seconds}.", "Give a number from 0 on.")
    if seconds is not None:
        return seconds
    return max((int(one.row["interval"]) for one in migrations), default=0) + CRON_SECONDS


def refuse_finishing(
    reason: str | None, accept_data_loss: bool, without_backup: bool, no_backup: t.Callable[[], str | None]
) -> None:
    """Raise :class:`GitLabError` unless all gates of marking a migration finished are open.

    ``no_backup`` says why there is no backup to rely on, None when there is one; it may take long, and is asked last.
    """
    if not (reason or "").strip():
        raise GitLabError("reason is empty.", "Say why the rows that are skipped may be skipped; it is kept.")
    if not accept_data_loss:
        raise GitLabError(
            "A failed migration that is marked finished leaves its rows as they are: what it should have copied is lost"
            " when a later version drops the source.",
            "Try bbm_retry and bbm_finalize first. If GitLab's support told you to, set accept_data_loss: true.",
        )
    problem = None if without_backup else no_backup()
    if problem:
        raise GitLabError(
            f"This cannot be taken back, and no recent backup is proven on this host: {problem}",
            "Run the playbook gitlab_fleet.upgrade.backup first. If there is a backup of another kind, set without_backup: true.",
        )


def _known(migration: BatchedMigration) -> None:
    if migration.status not in STATES:
        raise GitLabError(
            f"{migration.label} has the status {migration.status}, which this collection does not know.",
            "Use a version of the collection that knows this version of GitLab.",
            migration=migration.id,
        )
