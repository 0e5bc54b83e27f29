# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause, Diagnosis, diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

# Chef says it since GitLab 6; its other words changed with its name.
SUCCESS = "gitlab Reconfigured!"
MIGRATE_LOGS = "/var/log/gitlab/gitlab-rails/gitlab-rails-db-migrate-*.log"
LOG_TAIL_BYTES = 8000
_UPDATED = re.compile(r"^(?:Chef|Cinc|Infra)\b.*?[,.] (\d+)(?:/\d+)? resources updated", re.MULTILINE)


def updated_resources(output: str) -> int | None:
    """Return how many resources Chef says it changed, None when it does not say."""
    found = _UPDATED.findall(output)
    return int(found[-1]) if found else None


class ReconfigureJob(OneJob):
    """One run of C(gitlab-ctl reconfigure). After the last step C(result) has what it did."""

    name = "reconfigure"
    excludes = ("gitlab_package",)

    def __init__(self, installation: Installation, jobs: Jobs, memory: dict[str, t.Any], check_mode: bool) -> None:
        if installation.install_type != OMNIBUS:
            raise GitLabError(
                "A self-compiled installation has no gitlab-ctl reconfigure.", "Use db_migrate for its migrations."
            )
        super().__init__(jobs, memory, installation.ctl("reconfigure"), None, check_mode)
        self.result: dict[str, t.Any] = {}

    def prepare(self) -> tuple[bool, t.Any]:
        return True, None

    def counts(self, job: Job) -> bool:
        # gitlab.rb may have changed since.
        return False

    def conclude(self, job: Job | None, note: t.Any) -> None:
        log = tail(job.log) if job else ""
        updated = updated_resources(log)
        self.result = {
            # What cannot be known counts as a change.
            "changed": updated != 0,
            "updated_resources": updated,
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": log[-LOG_TAIL_BYTES:],
            "notes": self.notes,
            "commands": [self._argv],
        }
        if job is not None and (job.rc != 0 or SUCCESS not in log):
            raise self._failure(job)

    def _failure(self, job: Job) -> GitLabError:
        diagnosis = explain(job, job.output())
        return GitLabError(
            f"gitlab-ctl reconfigure {ending(job)}. {diagnosis.summary} {diagnosis.meaning}",
            f"{diagnosis.remedy} The whole output: {job.log}, {job.errors}.",
            **dict(self.result, diagnosis=diagnosis.to_dict()),
        )


def ending(job: Job) -> str:
    """Say in words how a job that is over ended."""
    return f"ended with exit status {job.rc}" if job.rc is not None else "disappeared without an exit status"


def explain(job: Job, output: str) -> Diagnosis:
    """Say why a job that reconfigures failed, from its output, or from the log of the migrations where that hides theirs."""
    diagnosis = diagnose(output, job.rc)
    if diagnosis.cause is Cause.OUTPUT_SUPPRESSED:
        diagnosis = _from_migrate_log(job.started_at) or diagnosis
    return diagnosis


def _from_migrate_log(since: float) -> Diagnosis | None:
    """Diagnose the log of the migrations that reconfigure ran, where it hides their output (14.10 to 15.4)."""
    logs = [path for path in glob.glob(MIGRATE_LOGS) if os.path.getmtime(path) >= since]
    return diagnose(tail(max(logs, key=os.path.getmtime))) if logs else None
