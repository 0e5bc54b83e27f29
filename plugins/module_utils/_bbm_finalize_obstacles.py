# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What keeps a finalize from beginning or ending: jobs that a dead process left running, and exhausted ones."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import reset_needed
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_record import Track
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance

# A look whether a running finalize goes round in circles costs a query, and seconds when it looks like it.
CHECK_SECONDS = 60


class Obstacles:
    """Frees abandoned jobs and gives exhausted ones new attempts; in check mode it only says so in the track."""

    def __init__(
        self,
        instance: Instance,
        orphan_grace: int,
        check_mode: bool,
        sleep: t.Callable[[float], None],
    ) -> None:
        self._instance = instance
        self._orphan_grace = orphan_grace
        self._check_mode = check_mode
        self._sleep = sleep

    def make_way(self, migration: BatchedMigration, track: Track) -> Waiting | None:
        """Free jobs that a dead process left running; wait for those that a living one works on."""
        session = self._session(migration)
        suspects = _orphans.suspects(_orphans.read_open_jobs(session, migration))
        if track["awaited"] is not None:
            # Sidekiq goes on with the next batch; finalize ends that, so that nobody need wait for it.
            suspects = [one for one in suspects if one.id in track["awaited"]]
        if not suspects:
            return None
        first = _orphans.sample(session, migration.table_name)
        abandoned = _orphans.is_proven_at_once(first, suspects, _orphans.ruby_processes())
        if not abandoned and not first.working:
            abandoned = _orphans.is_abandoned(self._samples(session, migration))
        if abandoned:
            self._free(migration, track, suspects)
            return None
        if self._check_mode:
            return None
        track["awaited"] = [one.id for one in suspects]
        names = ", ".join(str(one.id) for one in suspects)
        reason = (
            "whose worker cannot be seen by this database user (it counts as dead after one hour)"
            if first.hidden
            else "which another process is working on"
        )
        return Waiting(migration.id, None, f"waits for job {names}, {reason}")

    def reset_attempts(self, migration: BatchedMigration, track: Track) -> None:
        """Give exhausted jobs new attempts where finalize itself does not."""
        if not reset_needed(self._instance.version):
            return
        session = self._session(migration)
        exhausted = [one for one in _orphans.read_open_jobs(session, migration) if not one.running]
        track["reset"] += len(exhausted)
        if exhausted and not self._check_mode:
            _orphans.reset_attempts(session, migration)

    def unblock(self, migration: BatchedMigration, track: Track, finalizer: str = "") -> None:
        """Free what a running finalize waits for in vain: jobs whose process died after it had begun.

        ``finalizer`` is the name of its session, where it has one of its own.
        """
        track["checked_at"] = time.time()
        session = self._session(migration)
        suspects = [
            suspect
            for suspect in _orphans.suspects(_orphans.read_open_jobs(session, migration))
            if suspect.age > _orphans.QUIET_SECONDS
        ]
        if suspects and _orphans.is_spinning(self._samples(session, migration, finalizer)):
            self._free(migration, track, suspects, awaited=True)

    def _samples(self, session: Session, migration: BatchedMigration, finalizer: str = "") -> list[_orphans.Sample]:
        samples: list[_orphans.Sample] = []
        while len(samples) * _orphans.SAMPLE_SECONDS < self._orphan_grace:
            self._sleep(_orphans.SAMPLE_SECONDS)
            samples.append(_orphans.sample(session, migration.table_name, finalizer))
            if not _orphans.is_abandoned(samples):
                break
        return samples

    def _free(
        self, migration: BatchedMigration, track: Track, jobs: list[_orphans.OpenJob], awaited: bool = False
    ) -> None:
        ids = [one.id for one in jobs]
        if not self._check_mode:
            ids = _orphans.free(self._session(migration), jobs, awaited)
        track["freed"] += ids
        track["notes"].append(
            f"Job {', '.join(str(one) for one in ids)} was marked running and nobody worked on it any more"
            f" (its process was killed); it was {'made to count as stuck' if awaited else 'set to failed'}, so that it runs again."
        )

    def _session(self, migration: BatchedMigration) -> Session:
        return self._instance.session(migration.database)


def is_due(track: Track) -> bool:
    """Tell whether it is time to look again whether a running finalize waits in vain."""
    return bool(time.time() - track["checked_at"] >= CHECK_SECONDS)
