# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Finishes batched background migrations by jobs of :mod:`_job`, in steps that return at once: one alone by GitLab's task,
several in one process.

What was done so far is in a dictionary of JSON values, so that the steps of one run can be calls of their own. It may
be lost at any time: rows and jobs tell the next run where this one stood.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize as plan
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize_many as many
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _bbm_finalize_record as record
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    BatchedMigration,
    find_by_id,
    parse_id,
    read_migrations,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_obstacles import Obstacles, is_due
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import (
    LOST,
    RUNNING,
    Job,
    NotOverError,
    tail,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rails_runner import parse_answer

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

_Rows = t.Dict[str, BatchedMigration]


class Finalizer:
    """Takes selected migrations to finished. ``memory`` is the dictionary that the former step of this run left."""

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        memory: dict[str, t.Any],
        *,
        orphan_grace: int,
        parallel: int = 1,
        check_mode: bool = False,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._instance = instance
        self._jobs = jobs
        self._memory = memory
        self._parallel = parallel
        self._check_mode = check_mode
        self._obstacles = Obstacles(instance, orphan_grace, check_mode, sleep)

    def select(self, selection: plan.Selection) -> None:
        """Decide once what is to be finished.

        :raises GitLabError: what is named does not exist.
        """
        if selection.database is not None:
            name = self._instance.topology.find(selection.database).name
            selection = replace(selection, database=name)
        chosen = plan.select(selection, self._read_all())
        self._memory.update(
            ids=[one.id for one in chosen], tracks={}, results={}, commands=[], without_tasks=[], selected=True
        )

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        while self._left():
            waiting = None if self._check_mode else self._take_up()
            if waiting is None and self._left():
                waiting = self._begin()
            if waiting is not None:
                return waiting
        return None

    def results(self) -> list[dict[str, t.Any]]:
        """Return what became of each migration that is over, in order."""
        results = self._memory["results"]
        return [results[one] for one in self._memory["ids"] if one in results]

    def _left(self) -> list[str]:
        return [one for one in self._memory["ids"] if one not in self._memory["results"]]

    def _take_up(self) -> Waiting | None:
        """Take in what jobs of this host have done of the work; return the one that is still at it."""
        waiting = self._take_up_many()
        if waiting is not None:
            return waiting
        for one in self._left():
            job = self._jobs.find(_job_name(one))
            if job is None:
                continue
            track = self._track(one, job.note["before"], job.note["way"])
            if job.status == RUNNING:
                track["watched"] = True
                if is_due(track):
                    self._obstacles.unblock(self._read(one), track)
                return Waiting(one, job, "")
            # Another run of the same task may have taken it in meanwhile; the row tells then.
            with contextlib.suppress(NotOverError):
                self._judge(self._read(one), track, self._jobs.collect(job.name))
        return None

    def _take_up_many(self) -> Waiting | None:
        job = self._jobs.find(many.JOB)
        if job is None:
            return None
        courses = many.courses_of(job)
        mine = [one for one in self._left() if one in job.note and not self._tried(one, many.MANY)]
        for one in mine:
            track = self._track(one, job.note[one])
            track["watched"] = track["watched"] or job.status == RUNNING
        if job.status != RUNNING:
            try:
                job = self._jobs.collect(many.JOB)
            except NotOverError:
                # Another run of the same task has taken it in meanwhile; the rows tell then.
                return None
        else:
            under_way = [one for one in mine if one not in courses or courses[one].ended_at is None]
            for one in under_way:
                track = self._memory["tracks"][one]
                if one in courses and is_due(track):
                    migration = self._read(one)
                    self._obstacles.unblock(migration, track, many.session_name(migration))
            if under_way:
                return Waiting(many.in_words(under_way), job, "")
        rows = self._rows()
        for one in mine:
            self._judge_one_of_many(_present(one, rows), job, courses)
        return None

    def _judge(self, migration: BatchedMigration, track: record.Track, job: Job) -> None:
        """Take in how a job for one migration ended."""
        watched, track["watched"] = track["watched"], False
        way, output = job.note["way"], job.output()
        record.add_output(track, way, job, job.seconds, tail(job.log, record.LOG_TAIL_BYTES))
        diagnosis = diagnose(output, job.rc)
        verdict = plan.judge(migration, job.rc, diagnosis.cause)
        if verdict is plan.Verdict.DONE:
            self._finish(migration, track)
        elif verdict is plan.Verdict.OTHER_WAY:
            track["tried"].append(way)
            if job.rc == 0:
                track["notes"].append(f"{_words(way)} exited 0 and did nothing: the row is {migration.state}.")
                self._memory["without_tasks"].append(migration.database)
            else:
                track["notes"].append(f"{_words(way)} is not possible here: {diagnosis.summary}")
        elif watched:
            refused = (parse_answer(output) or {}).get("refused")
            error = record.failure(migration, self._session(migration), job, diagnosis, refused, job.status == LOST)
            self._finish(migration, track, error)
        else:
            record.note_unwatched(track, job)

    def _judge_one_of_many(self, migration: BatchedMigration, job: Job, courses: t.Mapping[str, many.Course]) -> None:
        """Take in what the job for many did for one migration."""
        track = self._memory["tracks"][migration.id]
        watched, track["watched"] = track["watched"], False
        course = courses.get(migration.id)
        if course is not None:
            seconds = (course.ended_at or job.ended_at or time.time()) - course.began_at
            record.add_output(track, many.MANY, job, seconds, course.error or course.refused or "")
        if migration.done:
            self._finish(migration, track)
        elif course is None and courses:
            # The process was ended before its turn came; the next one begins with it.
            return
        elif course is None:
            # What keeps the runner from beginning may not keep the tasks from it.
            track["tried"].append(many.MANY)
            summary = diagnose(job.output(), job.rc).summary
            track["notes"].append(f"{_words(many.MANY)} did not begin: {summary} See {job.errors}.")
        elif course.did_nothing:
            track["tried"].append(many.MANY)
            track["notes"].append(f"{_words(many.MANY)} did nothing: the row is {migration.state}.")
        elif watched:
            diagnosis = diagnose(course.error, 1) if course.error else diagnose(job.output(), job.rc)
            vanished = job.status == LOST and course.ended_at is None
            session = self._session(migration)
            error = record.failure(migration, session, job, diagnosis, course.refused, vanished)
            self._finish(migration, track, error)
        else:
            record.note_unwatched(track, job)

    def _begin(self) -> Waiting | None:
        """Start what can be started now: one job, for as many migrations as possible."""
        other = None if self._check_mode else self._jobs.find(many.JOB)
        if other is not None and other.status != RUNNING:
            # It has just ended.
            return None
        taken = many.tables_under_way(other) if other else set()
        rows = self._rows()
        together: list[BatchedMigration] = []
        waiting: Waiting | None = None
        for one in self._left():
            migration = _present(one, rows)
            track = self._track(one, migration.row)
            table, lone = many.table_of(migration), self._tried(one, many.MANY)
            try:
                if migration.done:
                    self._finish(migration, track)
                elif table in taken:
                    waiting = waiting or Waiting(one, other, "waits for another migration of the same table")
                elif lone and together:
                    taken.add(table)
                else:
                    obstacle = self._prepare(migration, track, rows)
                    if obstacle is not None:
                        waiting = waiting or obstacle
                        taken.add(table)
                    elif lone:
                        return self._start(migration, track, rows)
                    else:
                        together.append(migration)
            except GitLabError as error:
                self._finish(migration, track, error)
        if len(together) > 1 and other is None:
            return self._start_many(together[: many.MOST_IN_A_JOB])
        if together:
            return self._start(together[0], self._memory["tracks"][together[0].id], rows)
        return waiting

    def _prepare(self, migration: BatchedMigration, track: record.Track, rows: _Rows) -> Waiting | None:
        """Clear the way of a migration that is to be started; return what must be waited for before.

        :raises GitLabError: it must not be started, or every way was tried.
        """
        plan.refuse(migration, self._instance.version)
        if not self._ways(migration, track, rows):
            raise GitLabError(
                f"{migration.label} is {migration.state}: none of GitLab's commands did anything. {' '.join(track['notes'])}",
                "Look for its class, table and arguments in /var/log/gitlab/gitlab-rails/application_json.log.",
            )
        waiting = self._obstacles.make_way(migration, track)
        if waiting is None:
            self._obstacles.reset_attempts(migration, track)
        return waiting

    def _ways(self, migration: BatchedMigration, track: record.Track, rows: _Rows) -> list[str]:
        others = plan.twins(migration, rows.values())
        without_tasks = self._memory["without_tasks"]
        possible = plan.ways(migration, self._instance.topology, self._instance.version, others, without_tasks)
        return [way for way in possible if way not in track["tried"]]

    def _start(self, migration: BatchedMigration, track: record.Track, rows: _Rows) -> Waiting | None:
        way = self._ways(migration, track, rows)[0]
        argv = plan.command(way, migration, self._instance.installation)
        note = {"before": track["before"], "way": way}
        job = self._run([migration], way, _job_name(migration.id), argv, note)
        return Waiting(migration.id, job, "") if job else None

    def _start_many(self, migrations: list[BatchedMigration]) -> Waiting | None:
        argv = many.command(migrations, self._parallel, self._instance.installation)
        ids = [one.id for one in migrations]
        note = {one: self._memory["tracks"][one]["before"] for one in ids}
        job = self._run(migrations, many.MANY, many.JOB, argv, note)
        return Waiting(many.in_words(ids), job, "") if job else None

    def _run(
        self, migrations: list[BatchedMigration], way: str, name: str, argv: list[str], note: t.Mapping[str, t.Any]
    ) -> Job | None:
        """Start a job; in check mode only tell what would become of the migrations."""
        self._memory["commands"].append(argv)
        for one in migrations:
            track = self._memory["tracks"][one.id]
            track.update(way=way, watched=True, checked_at=time.time())
            if self._check_mode:
                self._finish(one, track)
        if self._check_mode:
            return None
        return self._jobs.start(name, argv, self._instance.installation.working_directory, note)

    def _finish(self, migration: BatchedMigration, track: record.Track, error: GitLabError | None = None) -> None:
        self._memory["results"][migration.id] = record.result(migration, track, error, self._check_mode)

    def _tried(self, one: str, way: str) -> bool:
        track = self._memory["tracks"].get(one)
        return track is not None and way in track["tried"]

    def _track(self, one: str, before: t.Mapping[str, t.Any], way: str | None = None) -> record.Track:
        tracks: dict[str, record.Track] = self._memory["tracks"]
        return tracks.setdefault(one, record.new_track(before, way))

    def _read(self, one: str) -> BatchedMigration:
        database, row_id = parse_id(one)
        migration = find_by_id(self._instance.session(database), row_id)
        return _present(one, {one: migration} if migration else {})

    def _rows(self) -> _Rows:
        return {one.id: one for one in self._read_all()}

    def _read_all(self) -> list[BatchedMigration]:
        return [one for session in self._instance.sessions() for one in read_migrations(session)]

    def _session(self, migration: BatchedMigration) -> Session:
        return self._instance.session(migration.database)


def _present(one: str, rows: _Rows) -> BatchedMigration:
    if one not in rows:
        raise GitLabError(f"The row of {one} is gone.", "Somebody removed it; see bbm_status.")
    return rows[one]


def _job_name(one: str) -> str:
    return f"finalize-{one}"


def _words(way: str) -> str:
    return f"The task {way}" if way.startswith(FINALIZE_TASK) else "gitlab-rails runner"
