# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Finishes batched background migrations one after another, each as a job of :mod:`_job`, in steps that return at once.

What was done so far is in a dictionary of JSON values, so that the steps of one run can be calls of their own. It may
be lost at any time: rows and jobs tell the next run where this one stood.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize as plan
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    FINISHED,
    JOBS_TABLE,
    STATES,
    BatchedMigration,
    find_by_id,
    parse_id,
    read_migrations,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import LOGS_TABLE
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause, Diagnosis, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, RUNNING, Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import parse_answer

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

LOG_TAIL_BYTES = 4000
# A look whether a running finalize goes round in circles costs a query, and seconds when it looks like it.
CHECK_SECONDS = 60

LAST_ERROR = Part(
    "last_error",
    (JOBS_TABLE, LOGS_TABLE),
    f"""
SELECT coalesce((
  SELECT to_jsonb(e) FROM (
    SELECT l.batched_background_migration_job_id AS job_id, l.exception_class, l.exception_message, l.created_at AS at
    FROM {LOGS_TABLE} AS l JOIN {JOBS_TABLE} AS j ON j.id = l.batched_background_migration_job_id
    WHERE j.batched_background_migration_id = %(row_id)s::bigint AND j.status = 2 AND l.exception_class IS NOT NULL
    ORDER BY l.id DESC LIMIT 1) AS e), 'null'::jsonb)""",
)


class Finalizer:
    """Takes selected migrations to finished. ``memory`` is the dictionary that the former step of this run left."""

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        memory: dict[str, t.Any],
        orphan_grace: int,
        check_mode: bool = False,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._instance = instance
        self._jobs = jobs
        self._memory = memory
        self._orphan_grace = orphan_grace
        self._check_mode = check_mode
        self._sleep = sleep

    def select(self, selection: plan.Selection) -> None:
        """Decide once what is to be finished.

        :raises GitLabError: what is named does not exist.
        """
        if selection.database is not None:
            name = self._instance.topology.find(selection.database).name
            selection = plan.Selection(selection.id, selection.key, name)
        chosen = plan.select(selection, self._read_all())
        self._memory.update(
            ids=[one.id for one in chosen], tracks={}, results={}, commands=[], without_tasks=[], selected=True
        )

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        for one in self._memory["ids"]:
            if one not in self._memory["results"]:
                waiting = self._advance(one)
                if waiting is not None:
                    return waiting
        return None

    def results(self) -> list[dict[str, t.Any]]:
        """Return what became of each migration that is over, in order."""
        results = self._memory["results"]
        return [results[one] for one in self._memory["ids"] if one in results]

    def _advance(self, one: str) -> Waiting | None:
        name = f"finalize-{one}"
        job = self._jobs.find(name)
        track = self._memory["tracks"].get(one)
        if self._check_mode:
            job = None
        if job is not None and job.status == RUNNING:
            track = track or self._track(one, job.note)
            track["watched"] = True
            self._unblock(one, track, job)
            return Waiting(one, job, "")
        if job is not None:
            job = self._jobs.collect(name)
        migration = self._read(one)
        track = track or self._track(one, job.note if job else {"before": dict(migration.row), "way": None})
        try:
            if job is not None:
                self._judge(migration, track, job)
            if migration.done:
                self._finish(migration, track)
                return None
            return self._start(migration, track)
        except GitLabError as error:
            self._finish(migration, track, error)
            return None

    def _track(self, one: str, note: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        track = {
            "before": note["before"],
            "way": note["way"],
            "tried": [],
            "notes": [],
            "freed": [],
            "reset": 0,
            "seconds": 0.0,
            "log": None,
            "watched": False,
            "awaited": None,
            "checked_at": time.time(),
        }
        self._memory["tracks"][one] = track
        return track

    def _judge(self, migration: BatchedMigration, track: dict[str, t.Any], job: Job) -> None:
        """Take in how a job ended; raise when that is a failure of this run."""
        watched, track["watched"] = track["watched"], False
        track["way"] = way = job.note["way"]
        track["seconds"] = round(track["seconds"] + job.seconds, 1)
        track["log"] = job.log
        output = job.output()
        diagnosis = diagnose(output, job.rc)
        verdict = plan.judge(migration, job.rc, diagnosis.cause)
        if verdict is plan.Verdict.DONE:
            return
        if verdict is plan.Verdict.OTHER_WAY:
            track["tried"].append(way)
            if job.rc == 0:
                track["notes"].append(f"{_words(way)} exited 0 and did nothing: the row is {migration.state}.")
                self._memory["without_tasks"].append(migration.database)
            else:
                track["notes"].append(f"{_words(way)} is not possible here: {diagnosis.summary}")
        elif watched:
            raise self._failure(migration, job, diagnosis)
        else:
            ended = f"ended with exit status {job.rc}" if job.status == ENDED else "disappeared (killed, or a restart)"
            track["notes"].append(f"An earlier finalize {ended} while nobody was watching; see {job.log}.")

    def _start(self, migration: BatchedMigration, track: dict[str, t.Any]) -> Waiting | None:
        version = self._instance.version
        plan.refuse(migration, version)
        others = plan.twins(migration, self._read_all())
        possible = plan.ways(migration, self._instance.topology, version, others, self._memory["without_tasks"])
        left = [way for way in possible if way not in track["tried"]]
        if not left:
            raise GitLabError(
                f"{migration.label} is {migration.state}: none of GitLab's commands did anything. {' '.join(track['notes'])}",
                "Look for its class, table and arguments in /var/log/gitlab/gitlab-rails/application_json.log.",
            )
        waiting = self._make_way(migration, track)
        if waiting is not None:
            return waiting
        session = self._session(migration)
        if plan.reset_needed(version):
            exhausted = [one for one in _orphans.read_open_jobs(session, migration) if not one.running]
            track["reset"] += len(exhausted)
            if exhausted and not self._check_mode:
                _orphans.reset_attempts(session, migration)
        argv = plan.command(left[0], migration, self._instance.installation)
        self._memory["commands"].append(argv)
        track.update(way=left[0], watched=True, checked_at=time.time())
        if self._check_mode:
            self._finish(migration, track)
            return None
        job = self._jobs.start(
            f"finalize-{migration.id}",
            argv,
            self._instance.installation.working_directory,
            {"before": track["before"], "way": left[0]},
        )
        return Waiting(migration.id, job, "")

    def _make_way(self, migration: BatchedMigration, track: dict[str, t.Any]) -> Waiting | None:
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

    def _unblock(self, one: str, track: dict[str, t.Any], job: Job) -> None:
        """Free what a running finalize waits for in vain: jobs whose process died after it had begun."""
        if time.time() - track["checked_at"] < CHECK_SECONDS:
            return
        track["checked_at"] = time.time()
        migration = self._read(one)
        session = self._session(migration)
        suspects = [
            suspect
            for suspect in _orphans.suspects(_orphans.read_open_jobs(session, migration))
            if suspect.age > _orphans.QUIET_SECONDS
        ]
        if suspects and _orphans.is_spinning(self._samples(session, migration)):
            self._free(migration, track, suspects)

    def _samples(self, session: Session, migration: BatchedMigration) -> list[_orphans.Sample]:
        samples: list[_orphans.Sample] = []
        while len(samples) * _orphans.SAMPLE_SECONDS < self._orphan_grace:
            self._sleep(_orphans.SAMPLE_SECONDS)
            samples.append(_orphans.sample(session, migration.table_name))
            if not _orphans.is_abandoned(samples):
                break
        return samples

    def _free(self, migration: BatchedMigration, track: dict[str, t.Any], jobs: list[_orphans.OpenJob]) -> None:
        ids = [one.id for one in jobs]
        if not self._check_mode:
            ids = _orphans.free(self._session(migration), jobs)
        track["freed"] += ids
        track["notes"].append(
            f"Job {', '.join(str(one) for one in ids)} was marked running and nobody worked on it any more"
            " (its process was killed); it was set to failed, so that it runs again."
        )

    def _finish(self, migration: BatchedMigration, track: dict[str, t.Any], error: GitLabError | None = None) -> None:
        before = BatchedMigration.from_row(migration.database, track["before"])
        untouched = plan.untouched_reason(before)
        if untouched and not track["way"]:
            track["notes"].append(untouched)
        log = track["log"]
        after = {**migration.row, "state": migration.state}
        predicted = self._check_mode and not migration.done and error is None
        if predicted:
            after.update(status=FINISHED, state=STATES[FINISHED])
        self._memory["results"][migration.id] = {
            "id": migration.id,
            "database": migration.database,
            "job_class_name": migration.job_class_name,
            "table_name": migration.table_name,
            "column_name": migration.column_name,
            "job_arguments": migration.job_arguments,
            "before": {**before.row, "state": before.state},
            "after": after,
            "changed": predicted or bool(before.status != migration.status or track["freed"] or track["reset"]),
            "way": track["way"] and ("runner" if track["way"] == plan.RUNNER else "rake"),
            "seconds": track["seconds"],
            "freed_jobs": track["freed"],
            "reset_jobs": track["reset"],
            "notes": track["notes"],
            "log": log,
            "log_tail": tail(log, LOG_TAIL_BYTES) if log else "",
            "error": error and error.msg,
            "remedy": error and error.remedy,
            "diagnosis": error and error.details.get("diagnosis"),
        }

    def _failure(self, migration: BatchedMigration, job: Job, diagnosis: Diagnosis) -> GitLabError:
        answer = parse_answer(job.output()) or {}
        last = self._session(migration).read([LAST_ERROR], row_id=migration.row_id).get(LAST_ERROR.name)
        if job.status != ENDED:
            reason = "Its process disappeared without an exit status: it was killed, or the host was restarted."
        elif answer.get("refused"):
            reason = f"The code inside GitLab refused: {answer['refused']}"
        elif diagnosis.cause is Cause.UNKNOWN and last:
            reason = f"Its job {last['job_id']} failed with {last['exception_class']}: {last['exception_message']}."
        else:
            reason = diagnosis.summary
        return GitLabError(
            f"{migration.label} is {migration.state}, not finished. {reason} {diagnosis.meaning}",
            f"{diagnosis.remedy} A run of the same task goes on where this one stopped. Output: {job.log}, {job.errors}.",
            diagnosis=dict(diagnosis.to_dict(), last_error=last),
        )

    def _read(self, one: str) -> BatchedMigration:
        database, row_id = parse_id(one)
        migration = find_by_id(self._instance.session(database), row_id)
        if migration is None:
            raise GitLabError(f"The row of {one} is gone.", "Somebody removed it; see bbm_status.")
        return migration

    def _read_all(self) -> list[BatchedMigration]:
        return [one for session in self._instance.sessions() for one in read_migrations(session)]

    def _session(self, migration: BatchedMigration) -> Session:
        return self._instance.session(migration.database)


def _words(way: str) -> str:
    return "gitlab-rails runner" if way == plan.RUNNER else f"The task {way}"
