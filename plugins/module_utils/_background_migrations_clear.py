# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Clears non-batched background migrations as a job, and proves it by what is left in Redis and in the rows."""

from __future__ import annotations

import json
import signal
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _background_migrations as older
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _rails_runner,
    _ruby_background_migrations,
    _state,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Topology

EVENT_MARK = "@@background_migration "

# What a run that was killed had taken from Sidekiq: nobody else knows of it.
RECORD = "background_migrations.json"

# For how long the success of a run that nobody watched still tells how Redis is.
FRESH_SECONDS = 3600

# A signal that Ruby hears lets GitLab put the message back.
_HEARD = tuple(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))

LOG_BYTES = 8 * 1024 * 1024
_NOTHING_DONE: t.Mapping[str, t.Any] = {"attempted": [], "marked": [], "errors": [], "again": []}


def events(log: str) -> list[dict[str, t.Any]]:
    """Return the jobs that a log says were begun, in order; a line that is cut is none."""
    found = []
    for line in log.split("\n"):
        if line.startswith(EVENT_MARK):
            try:
                found.append(json.loads(line[len(EVENT_MARK) :]))
            except ValueError:
                continue
    return found


def interrupted(job: Job) -> dict[str, t.Any] | None:
    """Return the message that a killed run had taken out of Redis and may not have done, if there is one."""
    log = tail(job.log, LOG_BYTES)
    begun = events(log)
    if not begun or _rails_runner.parse_answer(log) is not None or job.rc in _HEARD or begun[-1]["from"] == "row":
        return None
    return {name: begun[-1][name] for name in ("database", "class_name", "arguments")}


def read_interrupted() -> list[dict[str, t.Any]]:
    """Return what killed runs of this host have taken from Sidekiq and not done.

    :raises GitLabError: the record cannot be read.
    """
    return list((_state.read_record(RECORD) or {}).get("interrupted", []))


def _write_interrupted(jobs: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    if jobs:
        _state.write_record(RECORD, {"interrupted": list(jobs)})
    else:
        _state.remove_record(RECORD)


class ClearJob(OneJob):
    """One run of the Ruby that clears. After the last step C(result) has what it did."""

    name = "background_migrations"

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        memory: dict[str, t.Any],
        classes: list[str] | None,
        remedies: list[str],
        retry_dead_jobs: bool,
        check_mode: bool,
    ) -> None:
        self._instance = instance
        self._remedies = remedies
        # Who asks for a class to be mended asks for it to be cleared.
        self._classes = None if classes is None else list(dict.fromkeys([*classes, *remedies]))
        self._retry_dead_jobs = retry_dead_jobs
        super().__init__(jobs, memory, self._command(), instance.installation.working_directory, check_mode)
        self.result: dict[str, t.Any] = {}

    def _again(self) -> list[dict[str, t.Any]]:
        return [one for one in read_interrupted() if self._classes is None or one["class_name"] in self._classes]

    def _command(self) -> list[str]:
        topology = self._instance.topology
        value = {
            "connections": older.connections(topology),
            "databases": [database.name for database in topology.databases],
            "classes": self._classes,
            "retry_dead_jobs": self._retry_dead_jobs,
            "remedies": self._remedies,
            "again": self._again(),
        }
        return _rails_runner.command(self._instance.installation, _ruby_background_migrations.CLEAR, value)

    def prepare(self) -> tuple[bool, t.Any]:
        # Only Ruby can tell whether there is anything to do, so that it is one boot to look and to do.
        return True, older.read_pending(self._instance)

    def counts(self, job: Job) -> bool:
        lost = interrupted(job)
        if lost:
            self._remember([lost])
            self._argv = self._command()
        fresh = job.ended_at is not None and time.time() - job.ended_at < FRESH_SECONDS
        return fresh and job.rc == 0 and job.argv == tuple(self._argv)

    def conclude(self, job: Job | None, note: t.Any) -> None:
        if self._check_mode:
            self._predict(note)
            return
        answer = self._count_again() if job is None else self._answer(job)
        if not answer["engine"]:
            answer = {**_NOTHING_DONE, "engine": False}
        self._forget(answer["again"])
        topology = self._instance.topology
        answer = {
            **answer,
            **{name: _by_database(topology, answer[name]) for name in ("attempted", "marked", "errors")},
        }
        before = older.merge(topology, note, answer, "before")
        after = older.merge(topology, older.read_pending(self._instance), answer)
        self._take_in(before, after, answer, job)
        if self.result["reasons"]:
            raise self._not_cleared(answer["errors"])

    def _answer(self, job: Job) -> older.Answer:
        answer = _rails_runner.parse_answer(tail(job.log, LOG_BYTES))
        if job.rc != 0 or answer is None or answer.get("refused"):
            raise self._unanswered(job, answer)
        return answer

    def _count_again(self) -> older.Answer:
        self.notes.append("Another run took the result of the same work; what is left was counted anew.")
        counted = older.ask(self._instance, older.count_command(self._instance, older.read_pending(self._instance)))
        return {**_NOTHING_DONE, **counted, "before": counted.get("messages")}

    def _take_in(self, before: older.Reading, after: older.Reading, answer: older.Answer, job: Job | None) -> None:
        moments = {
            moment: {one.label: one.to_dict() for one in reading.chosen(self._classes)}
            for moment, reading in (("before", before), ("after", after))
        }
        self.notes.extend(older.notes(self._instance.version, after.engine) + older.ignored_batched(self._instance))
        again = self._again()
        ran = {(one["database"], one["class_name"]) for one in answer["attempted"]}
        said = older.describe(after, self._classes)
        left, version = after.chosen(self._classes), self._instance.version
        reasons = older.reasons(version, left, self._retry_dead_jobs, again, answer["errors"], ran)
        reasons = reasons or older.doubt(said["totals"])
        self.result = {
            **said,
            "changed": _counts(moments["before"]) != _counts(moments["after"]) or bool(answer["again"]),
            "cleared": not reasons,
            "reasons": reasons,
            "before": older.describe(before, self._classes)["classes"],
            "attempted": answer["attempted"],
            "marked": answer["marked"],
            "errors": answer["errors"],
            "interrupted": again,
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "notes": self.notes,
            "commands": [self._argv],
            "diff": {moment: _counts(of) for moment, of in moments.items()},
        }

    def _predict(self, pending: older.Pending) -> None:
        """Say in check mode what a run would do, by reading alone."""
        argv = older.count_command(self._instance, pending)
        reading = older.merge(self._instance.topology, pending, older.ask(self._instance, argv))
        self._take_in(reading, reading, _NOTHING_DONE, None)
        left = reading.chosen(self._classes)
        tries = [(one, one.attempts(self._retry_dead_jobs)) for one in left]
        self.result["attempted"] = [
            {"database": one.database, "class_name": one.class_name, "jobs": jobs} for one, jobs in tries if jobs
        ]
        self.result["marked"] = [
            {"database": one.database, "class_name": one.class_name, "rows": one.pending}
            for one in left
            if one.pending and one.class_name in self._remedies
        ]
        self.result["changed"] = bool(self.result["attempted"] or self.result["marked"] or self._again())
        self.result["diff"]["after"] = {
            label: counts
            for label, counts in self.result["diff"]["after"].items()
            if label not in {one.label for one, jobs in tries if jobs}
        }
        # Nothing to do is nothing to run.
        self.result["commands"] = [self._argv] if self.result["changed"] else []

    def _not_cleared(self, errors: t.Sequence[older.Answer]) -> GitLabError:
        details = dict(self.result)
        if errors:
            text = f"{errors[0]['error_class']}: {errors[0]['error_message']}"
            details["diagnosis"] = diagnose(f"rails aborted!\n{text}\n", 1).to_dict()
        return GitLabError(
            f"Not all background migrations are cleared. {'. '.join(self.result['reasons'])}.",
            "Then run the same task again; what is done is not done twice.",
            **details,
        )

    def _unanswered(self, job: Job, answer: older.Answer | None) -> GitLabError:
        lost = interrupted(job)
        if lost:
            self._remember([lost])
        error = older.no_answer(job.output(), job.rc, answer)
        begun = events(tail(job.log, LOG_BYTES))
        last = (
            f" It was in {begun[-1]['class_name']} ({begun[-1]['database']}), arguments {json.dumps(begun[-1]['arguments'])}."
            if begun
            else ""
        )
        return GitLabError(
            f"Clearing the background migrations was cut short.{last} {error.msg}",
            f"{error.remedy} Then run the same task again: it goes on where this ended. Its output: {job.log}, {job.errors}.",
            **dict(
                error.details, changed=bool(begun), interrupted=read_interrupted(), log=job.log, commands=[self._argv]
            ),
        )

    def _remember(self, jobs: list[dict[str, t.Any]]) -> None:
        present = read_interrupted()
        _write_interrupted(present + [one for one in jobs if one not in present])

    def _forget(self, done: t.Collection[t.Mapping[str, t.Any]]) -> None:
        present = read_interrupted()
        if any(one in done for one in present):
            _write_interrupted([one for one in present if one not in done])


def _by_database(topology: Topology, told: t.Iterable[older.Answer]) -> list[dict[str, t.Any]]:
    """Name the database, where GitLab names the connection: two can lead to one."""
    return [dict(one, database=topology.find(one["database"]).name) for one in told]


def _counts(of: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    names = ("pending", *older.PLACES)
    return {label: {name: one[name] for name in names if one[name]} for label, one in of.items()}
