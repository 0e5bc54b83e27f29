# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""GitLab's package as the host's package manager sees it, and the job that ends what its hook left half-way.

The states are those of dpkg(1). The hook is the package's post-installation script, which runs C(gitlab-ctl upgrade).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake_output import clean
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._reconfigure import (
    LOG_TAIL_BYTES,
    ReconfigureJob,
    ending,
    explain,
)

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import Runner

NAMES = ("gitlab-ee", "gitlab-ce", "gitlab-jh", "gitlab-fips")

DPKG = "dpkg"
RPM = "rpm"

INSTALLED = "installed"
# dpkg --configure ends these. It says that it refuses triggers-awaited, and runs the triggers all the same.
UNCONFIGURED = ("half-configured", "triggers-awaited", "triggers-pending", "unpacked")
_ABSENT = ("config-files", "not-installed")

# The same columns from both.
_DPKG_FORMAT = r"${Package}\t${db:Status-Status}\t${Version}\n"
_RPM_FORMAT = rf"%{{NAME}}\t{INSTALLED}\t%{{VERSION}}-%{{RELEASE}}\n"

# What dpkg and gitlab-ctl upgrade say after a failure, whatever it was.
_CLOSING_WORDS = re.compile(
    r"^(?:===|There was an error running gitlab-ctl reconfigure\..*|details\.|dpkg: error processing package .*"
    r"| .*post-installation script.* returned error exit status \d+|Errors were encountered while processing:"
    rf"| (?:{'|'.join(NAMES)}))$\n?",
    re.MULTILINE,
)
_REFUSAL = re.compile(r"^dpkg: error: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """One of GitLab's packages on the host; ``manager`` is C(dpkg) or C(rpm), ``state`` a word of dpkg's."""

    name: str
    state: str
    version: str
    manager: str


def parse_packages(text: str, manager: str) -> list[Package]:
    """Return GitLab's packages that are on the host in whatever state, from lines of name, state and version."""
    rows = [line.split("\t") for line in text.splitlines()]
    return [
        Package(row[0], row[1], row[2], manager)
        for row in rows
        if len(row) == 3 and row[0] in NAMES and row[1] not in _ABSENT
    ]


def find_package(runner: Runner, dpkg_query: str | None, rpm: str | None) -> Package:
    """Ask the package managers of the host, given by the paths of their programs, for GitLab's package.

    :raises GitLabError: there is none, or more than one, or dpkg cannot tell.
    """
    found: list[Package] = []
    if dpkg_query:
        # Exit status 1 says that it does not know one of the names.
        result = runner.run([dpkg_query, "--show", "--showformat", _DPKG_FORMAT, *NAMES])
        if result.rc > 1:
            raise GitLabError(
                f"dpkg-query cannot tell whether GitLab is installed: {result.stderr.strip()}",
                "Mend dpkg's database on this host (see dpkg --audit), then run this again.",
                cmd=result.argv,
            )
        found = parse_packages(result.stdout, DPKG)
    if not found and rpm:
        result = runner.run([rpm, "--query", "--queryformat", _RPM_FORMAT, *NAMES])
        found = parse_packages(result.stdout, RPM)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(one.name for one in found)
    raise GitLabError(
        f"More than one package of GitLab is on this host: {listed}."
        if found
        else f"None of GitLab's packages ({', '.join(NAMES)}) is installed on this host.",
        "Leave only the one that is in use."
        if found
        else "Check that this host is a GitLab node, installed by the Linux package.",
    )


def configure_command(name: str) -> list[str]:
    """Return the command that runs the package's hook again.

    The hook writes EXTERNAL_URL, where it is in the environment, into gitlab.rb.
    """
    return ["env", "--unset=EXTERNAL_URL", "DEBIAN_FRONTEND=noninteractive", DPKG, "--configure", name]


def hook_output(output: str) -> str:
    """Return the output without the closing words that hide what the hook said last."""
    return _CLOSING_WORDS.sub("", clean(output))


class PackageJob(OneJob):
    """One run of C(dpkg --configure). After the last step C(result) has what it did."""

    name = "gitlab_package"
    # The hook reconfigures too.
    excludes = (ReconfigureJob.name,)

    def __init__(
        self,
        installation: Installation,
        find: t.Callable[[], Package],
        jobs: Jobs,
        memory: dict[str, t.Any],
        check_mode: bool,
    ) -> None:
        if installation.install_type != OMNIBUS:
            raise GitLabError(
                "A self-compiled installation has no package.", "Leave this task out where install_type is source."
            )
        self._find = find
        self._package = find()
        super().__init__(jobs, memory, configure_command(self._package.name), None, check_mode)
        self.result: dict[str, t.Any] = {}

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        if self._check_mode:
            # The state tells what a run would do, which takes up a job that is running.
            self.conclude(None, self.prepare()[1])
            return None
        return super().advance()

    def prepare(self) -> tuple[bool, t.Any]:
        package = self._package
        if package.manager == RPM:
            self.notes.append("rpm leaves no package half-configured: it is installed even when its hook failed.")
        if package.state not in (INSTALLED, *UNCONFIGURED):
            raise GitLabError(
                f"The package {package.name} is {package.state}: its files are not all in place.",
                f"Install it again: apt-get install --reinstall {package.name}={package.version}",
                package=package.name,
                before=package.state,
            )
        return package.state in UNCONFIGURED, {"state": package.state}

    def counts(self, job: Job) -> bool:
        # A failure may have been mended since; a success stands in dpkg's database.
        return job.rc == 0 and job.argv == tuple(self._argv) and self._package.state == INSTALLED

    def conclude(self, job: Job | None, note: t.Any) -> None:
        package = self._find()
        before, after = note["state"], INSTALLED if self._check_mode else package.state
        if job is not None and job.rc != 0 and after == INSTALLED:
            self.notes.append(f"dpkg {ending(job)}, and the package is configured all the same; see {job.errors}.")
        self.result = {
            "changed": before != after,
            "package": package.name,
            "package_version": package.version,
            "before": before,
            "after": after,
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log, LOG_TAIL_BYTES) if job else "",
            "notes": self.notes,
            "commands": [self._argv] if before != INSTALLED else [],
        }
        if after != INSTALLED:
            raise self._failure(job)

    def _failure(self, job: Job | None) -> GitLabError:
        name, state = self._package.name, self.result["after"]
        if job is None or job.rc == 0:
            return GitLabError(
                f"dpkg --configure {name} ended without an error, yet the package is {state}.",
                f"Read {job.log if job else 'the output of the other run'}, then run this again.",
                **self.result,
            )
        refusal = _REFUSAL.search(tail(job.errors))
        if refusal:
            return GitLabError(
                f"dpkg refused to configure {name}, which is still {state}: {refusal.group(1)}.",
                "If another apt or dpkg is at work on the host, wait until it ends; then run this again."
                f" The whole output: {job.log}, {job.errors}.",
                **self.result,
            )
        diagnosis = explain(job, hook_output(job.output()))
        return GitLabError(
            f"dpkg --configure {name} {ending(job)}: the package's own hook failed again, and the package is still"
            f" {state}. {diagnosis.summary} {diagnosis.meaning}",
            f"{diagnosis.remedy} Then run this again. The whole output: {job.log}, {job.errors}.",
            **dict(self.result, diagnosis=diagnosis.to_dict()),
        )
