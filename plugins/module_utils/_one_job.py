# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, RUNNING, Job, NotOverError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs


class OneJob:
    """Work that is one command: start it, or take up the running one, and conclude when it is over.

    ``memory`` is the dictionary of JSON values that the former step of this run left; it is of no account whether it
    was lost in between.
    """

    # The job's name on the host.
    name: str
    # The names of other jobs that must not run at the same time: they are waited for.
    excludes: tuple[str, ...] = ()

    def __init__(self, jobs: Jobs, memory: dict[str, t.Any], argv: t.Sequence[str], cwd: str | None, check_mode: bool):
        self._jobs = jobs
        self._memory = memory
        self._argv = list(argv)
        self._cwd = cwd
        self._check_mode = check_mode
        self._memory.setdefault("notes", [])

    @property
    def notes(self) -> list[str]:
        """What an operator may want to know."""
        notes: list[str] = self._memory["notes"]
        return notes

    def prepare(self) -> tuple[bool, t.Any]:
        """Look at the instance before the command is started.

        Return whether it is needed at all, and a note of JSON values that is kept with the job for :meth:`conclude`.
        """
        raise NotImplementedError

    def conclude(self, job: Job | None, note: t.Any) -> None:
        """Take in the end of the command; ``job`` is None when it was not needed, or its result was taken elsewhere.

        :raises GitLabError: it failed.
        """
        raise NotImplementedError

    def counts(self, job: Job) -> bool:
        """Say whether the result of a job that ended while nobody was watching is the result of this run."""
        raise NotImplementedError

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        job = self._jobs.find(self.name)
        if job is not None and job.status == RUNNING:
            self._take_up(job)
            return Waiting(self.name, job, "")
        for other in () if self._check_mode else self.excludes:
            busy = self._jobs.find(other)
            if busy is not None and busy.status == RUNNING:
                return Waiting(other, busy, "")
        watched = self._memory.pop("watched", False)
        over = None if job is None or self._check_mode else self._collect()
        if over is not None:
            if watched or self.counts(over):
                self.conclude(over, over.note)
                return None
            end = f"ended with exit status {over.rc}" if over.status == ENDED else "disappeared (killed, or a restart)"
            self.notes.append(f"An earlier run {end} while nobody was watching; see {over.log}.")
        if watched:
            self.conclude(None, self._memory["note"])
            return None
        needed, note = self.prepare()
        if not needed or self._check_mode:
            self.conclude(None, note)
            return None
        job = self._jobs.start(self.name, self._argv, self._cwd, note)
        self._memory.update(watched=True, note=note)
        return Waiting(self.name, job, "")

    def _collect(self) -> Job | None:
        try:
            return self._jobs.collect(self.name)
        except NotOverError:
            # Another run of the same task has taken it in meanwhile.
            return None

    def _take_up(self, job: Job) -> None:
        if job.argv != tuple(self._argv) or self._check_mode:
            raise GitLabError(
                f"{job.command} is running on this host.",
                f"Wait until it ends (its output: {job.log}), then run this again.",
                job=job.name,
                log=job.log,
            )
        if not self._memory.get("watched"):
            self.notes.append("It was running already; this run took it up.")
        self._memory.update(watched=True, note=job.note)
