# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""One run of C(gitlab-ctl revert-pg-upgrade), proved by the server that answers afterwards.

Its exit status is 0 also where PostgreSQL does not come up, and where the old data were not there and only the programs
were changed, after which no server runs on the newer ones: omnibus-gitlab, files/gitlab-ctl-commands/pg-upgrade.rb, and
https://gitlab.com/gitlab-org/omnibus-gitlab/-/issues/2028.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._reconfigure import LOG_TAIL_BYTES, ending
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback import REVERT, Reason, postgresql_step
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_reading import read_postgresql

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

NAME = "postgresql_revert"

# gitlab-ctl does not wait for the server, which may have to recover first.
_ANSWERS_WITHIN_SECONDS = 120
_PAUSE_SECONDS = 1


def refuse_while_running(jobs: Jobs) -> None:
    """Refuse to look at a server that is being changed.

    :raises GitLabError: C(gitlab-ctl revert-pg-upgrade) runs.
    """
    job = jobs.find(NAME)
    if job is not None and job.status == RUNNING:
        raise GitLabError(
            f"{job.command} is running on this host, which an earlier run began.",
            f"Wait until it ends (its output: {job.log}), then run this again.",
            job=job.name,
            log=job.log,
        )


class Wish(t.NamedTuple):
    """The major to go back to, and whether the loss of all that was written since the upgrade is accepted."""

    major: int
    accept_loss: bool


class RevertJob(OneJob):
    """The way back to an older major. After the last step C(result) has what it did."""

    name = NAME
    excludes = ("gitlab_package", "reconfigure")

    def __init__(
        self,
        installation: Installation,
        connect: t.Callable[[], Session],
        jobs: Jobs,
        memory: dict[str, t.Any],
        wish: Wish,
        check_mode: bool,
    ) -> None:
        if installation.install_type != OMNIBUS:
            raise GitLabError(
                "A self-compiled GitLab brings no PostgreSQL.",
                "Go back by the means that PostgreSQL was upgraded with.",
            )
        self._connect = connect
        self._wish = wish
        # It waits five seconds also with -w, which stands here for the versions that would wait longer.
        argv = installation.ctl("revert-pg-upgrade", "-w", "-V", str(wish.major))
        super().__init__(jobs, memory, argv, None, check_mode)
        self.result: dict[str, t.Any] = {}

    def prepare(self) -> tuple[bool, t.Any]:
        postgresql = read_postgresql(self._connect())
        if postgresql.major == self._wish.major:
            return False, postgresql.major
        step = postgresql_step(postgresql, self._wish.major)
        if isinstance(step, Reason):
            raise GitLabError(step.text, step.remedy)
        if step != REVERT:
            raise GitLabError(
                f"PostgreSQL {postgresql.major} is not that of the package, which gitlab-ctl could take back.",
                "Go back by the means that it was upgraded with.",
            )
        if not self._wish.accept_loss and not self._check_mode:
            raise GitLabError(
                f"Going back to PostgreSQL {self._wish.major} loses everything that was written since it was upgraded to {postgresql.major}.",
                "If that is accepted, set accept_loss_since_upgrade: true and run this again. Nothing was changed.",
            )
        return True, postgresql.major

    def counts(self, job: Job) -> bool:
        # Which server runs says more.
        return False

    def conclude(self, job: Job | None, note: t.Any) -> None:
        needed = note != self._wish.major
        self.result = {
            "changed": needed,
            "major_before": note,
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log)[-LOG_TAIL_BYTES:] if job else "",
            "notes": self.notes,
            "commands": [self._argv] if needed else [],
            "diff": {"before": f"PostgreSQL {note}\n", "after": f"PostgreSQL {self._wish.major}\n"},
        }
        if self._check_mode or not needed:
            return
        how = f"gitlab-ctl revert-pg-upgrade {ending(job)}" if job else "gitlab-ctl revert-pg-upgrade is over"
        major = self._await_server(how)
        if major != self._wish.major:
            raise GitLabError(
                f"{how}, and PostgreSQL {major} runs, not {self._wish.major}.",
                f"{self._see(job)}Take away what it complains about, run {' '.join(self._argv)} on the host,"
                " look at gitlab-psql -c 'SHOW server_version', then run this again.",
                **self.result,
            )
        if job is not None and job.rc != 0:
            self.notes.append(f"{how}, yet PostgreSQL {major} runs; see {job.log}.")

    def _await_server(self, how: str) -> int:
        deadline = time.monotonic() + _ANSWERS_WITHIN_SECONDS
        while True:
            try:
                return read_postgresql(self._connect()).major
            except GitLabError as error:
                if time.monotonic() >= deadline:
                    raise GitLabError(
                        f"{how}, and no PostgreSQL answers. {error.msg}", error.remedy, **self.result
                    ) from error
            time.sleep(_PAUSE_SECONDS)

    def _see(self, job: Job | None) -> str:
        return f"Its output: {job.log}, {job.errors}. " if job else ""
