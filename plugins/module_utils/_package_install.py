# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Another version of GitLab's package in the place of the installed one, also an older one, with its hooks kept still.

The hooks obey marker files (C(preinst) and C(gitlab-ctl upgrade) of the Linux package). A marker of ours says so in its
text, so that it can be told from the operator's own by whoever finds it.
"""

from __future__ import annotations

import glob
import json
import os
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import (
    INSTALLED,
    RPM,
    Package,
    PackageJob,
    hook_output,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._reconfigure import (
    LOG_TAIL_BYTES,
    ReconfigureJob,
    ending,
    explain,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import Runner

CONFIGURATION = "/etc/gitlab"
NODES = "/opt/gitlab/embedded/nodes"
MARKERS = ("skip-auto-backup", "skip-auto-reconfigure")
MARK = (
    "Placed by gitlab_fleet.upgrade.gitlab_package while it changes the package, and removed by it afterwards.\n"
    "Where no such run is going on, it is left over from an interrupted one: run that again, or remove this file.\n"
)

_ENVIRONMENT = ("env", "--unset=EXTERNAL_URL")
# Waits for another apt, takes nothing else off the host, and asks nothing.
_APT = (
    *(*_ENVIRONMENT, "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-remove"),
    *("--no-install-recommends", "--allow-change-held-packages"),
    *("-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"),
)


class Wish(t.NamedTuple):
    """What is asked for: a package's version as its manager writes it, perhaps from a file on the host."""

    version: str
    file: str | None
    allow_downgrade: bool
    skip_hooks: bool


def is_downgrade(current: str, wanted: str) -> bool:
    """Return whether a package of the version ``wanted`` is of an older GitLab than one of the version ``current``."""
    return GitLabVersion.parse(wanted) < GitLabVersion.parse(current)


def command(package: Package, wish: Wish) -> list[str]:
    """Return the command that puts the wished version into the place of the installed one."""
    down = is_downgrade(package.version, wish.version)
    if package.manager == RPM:
        verb = "downgrade" if down else "install"
        return [*_ENVIRONMENT, "dnf", verb, "--assumeyes", wish.file or f"{package.name}-{wish.version}"]
    options = ["--allow-downgrades"] if down else []
    return [*_APT, *options, wish.file or f"{package.name}={wish.version}"]


def parse_madison(text: str, name: str) -> list[str]:
    """Return the versions of a package that C(apt-cache madison) lists."""
    rows = [[field.strip() for field in line.split("|")] for line in text.splitlines()]
    return list(dict.fromkeys(row[1] for row in rows if len(row) == 3 and row[0] == name))


def parse_dnf(text: str, name: str) -> list[str]:
    """Return the versions of a package that C(dnf list --showduplicates) lists."""
    rows = [line.split() for line in text.splitlines()]
    return list(dict.fromkeys(row[1] for row in rows if len(row) == 3 and row[0].rpartition(".")[0] == name))


class Host:
    """The package manager of the host, and the markers of the package's hooks."""

    def __init__(self, runner: Runner, configuration: str = CONFIGURATION, nodes: str = NODES) -> None:
        self._runner = runner
        self._configuration = configuration
        self._nodes = nodes

    def check_obtainable(self, package: Package, wish: Wish) -> None:
        """Check that the wished package can be had.

        :raises GitLabError: the file is another package, or the package sources do not have the version.
        """
        if wish.file:
            self._check_file(package, wish.version, wish.file)
            return
        rpm = package.manager == RPM
        argv = (
            ["dnf", "--quiet", "list", "--showduplicates", package.name]
            if rpm
            else ["apt-cache", "madison", package.name]
        )
        output = self._runner.run(argv).stdout
        versions = parse_dnf(output, package.name) if rpm else parse_madison(output, package.name)
        if wish.version not in versions:
            raise GitLabError(
                f"The package sources of this host do not have {package.name} {wish.version}"
                f" (they have {', '.join(versions[:10]) or 'no version of it'}).",
                f"Refresh them ({'dnf makecache' if rpm else 'apt-get update'}), or put the package's file on the host and name it with file.",
                package=package.name,
            )

    def _check_file(self, package: Package, version: str, path: str) -> None:
        argv = (
            ["rpm", "--query", "--package", "--queryformat", r"%{NAME}\t%{VERSION}-%{RELEASE}", path]
            if package.manager == RPM
            else ["dpkg-deb", "--show", "--showformat", r"${Package}\t${Version}", path]
        )
        result = self._runner.run(argv)
        found = result.stdout.strip().split("\t")
        if result.rc != 0 or found != [package.name, version]:
            what = " ".join(found) if result.rc == 0 else result.stderr.strip()
            raise GitLabError(
                f"{path} is not the package {package.name} {version}: {what}.",
                "Name the file of exactly this version and edition.",
                package=package.name,
            )

    def is_held(self, package: Package) -> bool:
        """Return whether the package manager is told to leave the package alone."""
        return package.manager != RPM and package.name in self._runner.run(["apt-mark", "showhold"]).stdout.split()

    def hold(self, package: Package) -> None:
        """Tell the package manager so."""
        self._runner.run(["apt-mark", "hold", package.name])

    def place_markers(self) -> None:
        """Place the markers that are not there.

        :raises GitLabError: one cannot be written.
        """
        for path in self._markers():
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                continue
            except OSError as error:
                raise GitLabError(f"Cannot write {path}: {error.strerror}.", "Run as root (become: true).") from error
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(MARK)

    def put_broken_nodes_aside(self) -> list[str]:
        """Rename what an aborted reconfigure left of Chef's own file, and return the new paths.

        Up to 19.2 the package's pre-installation hook refuses to install over it, also an older version
        (C(gitlab-ctl check-config)). The next reconfigure writes it anew.
        """
        aside = []
        for path in sorted(glob.glob(f"{glob.escape(self._nodes)}/*.json")):
            if not _has_attributes(_text(path)):
                os.replace(path, f"{path}.broken")
                aside.append(f"{path}.broken")
        return aside

    def own_markers(self) -> list[str]:
        """Return the paths of the markers that are ours."""
        return [path for path in self._markers() if _text(path) == MARK]

    def remove_markers(self) -> None:
        """Remove the markers that are ours."""
        for path in self.own_markers():
            os.unlink(path)

    def _markers(self) -> list[str]:
        return [os.path.join(self._configuration, name) for name in MARKERS]


class InstallJob(OneJob):
    """One run of the package manager. After the last step C(result) has what it did."""

    name = PackageJob.name
    excludes = (ReconfigureJob.name,)

    def __init__(
        self,
        installation: Installation,
        find: t.Callable[[], Package],
        host: Host,
        jobs: Jobs,
        memory: dict[str, t.Any],
        wish: Wish,
        check_mode: bool,
    ) -> None:
        if installation.install_type != OMNIBUS:
            raise GitLabError(
                "A self-compiled installation has no package.", "Check the other version out of Git by hand."
            )
        self._find = find
        self._package = find()
        self._host = host
        self._wish = wish
        # While it runs the package changes, and with it the command that would lead to it.
        running = jobs.find(self.name)
        argv = list(running.argv) if running and _target(running.argv) == _target(self._command()) else self._command()
        super().__init__(jobs, memory, argv, None, check_mode)
        self.result: dict[str, t.Any] = {}

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        try:
            return super().advance()
        finally:
            job = self._jobs.find(self.name)
            if not self._check_mode and (job is None or job.status != RUNNING):
                self._host.remove_markers()

    def prepare(self) -> tuple[bool, t.Any]:
        package, wish = self._package, self._wish
        note = {"version": package.version, "state": package.state, "held": self._host.is_held(package)}
        if self._is_there(package):
            note["left_over"] = self._host.own_markers()
            return False, note
        if is_downgrade(package.version, wish.version) and not wish.allow_downgrade:
            raise GitLabError(
                f"{package.name} {package.version} is installed, and {wish.version} is older.",
                "A database that a newer version has migrated does not work with an older one. To roll back, use the role"
                " rollback_restore; to change the package alone, set allow_downgrade: true.",
                **self._states(package),
            )
        self._host.check_obtainable(package, wish)
        if wish.skip_hooks and not self._check_mode:
            self._host.place_markers()
            aside = self._host.put_broken_nodes_aside()
            if aside:
                self.notes.append(f"What an aborted reconfigure had left was put aside: {', '.join(aside)}.")
        return True, note

    def counts(self, job: Job) -> bool:
        return job.rc == 0 and job.argv == tuple(self._argv) and self._is_there(self._find())

    def conclude(self, job: Job | None, note: t.Any) -> None:
        package = self._find()
        if not self._check_mode and note["held"] and not self._host.is_held(package):
            self._host.hold(package)
        there = self._is_there(package)
        left_over = note.get("left_over", [])
        if left_over:
            self.notes.append(f"An interrupted run had left these behind, which are removed: {', '.join(left_over)}.")
        changed = (not there) if self._check_mode else (note["version"], note["state"]) != _both(package)
        self.result = {
            "changed": changed or bool(left_over),
            "package": package.name,
            "package_version": self._wish.version if self._check_mode else package.version,
            "version_before": note["version"],
            "before": note["state"],
            "after": INSTALLED if self._check_mode else package.state,
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log, LOG_TAIL_BYTES) if job else "",
            "notes": self.notes,
            "commands": [self._argv] if job or not there else [],
        }
        if not there and not self._check_mode:
            raise self._failure(job, package)

    def _failure(self, job: Job | None, package: Package) -> GitLabError:
        what = (
            f"{package.name} is {package.state} in the version {package.version}, not installed in {self._wish.version}"
        )
        if job is None or job.rc == 0:
            return GitLabError(
                f"The package manager ended without an error, yet {what}.",
                f"Read {job.log if job else 'the output of the other run'}, then run this again.",
                **self.result,
            )
        diagnosis = explain(job, hook_output(job.output()))
        return GitLabError(
            f"The package manager {ending(job)}: {what}. {_last_words(job) or diagnosis.summary}",
            f"Mend what it says, then run this again. The whole output: {job.log}, {job.errors}.",
            **dict(self.result, diagnosis=diagnosis.to_dict()),
        )

    def _command(self) -> list[str]:
        return command(self._package, self._wish)

    def _is_there(self, package: Package) -> bool:
        return package.state == INSTALLED and package.version == self._wish.version

    def _states(self, package: Package) -> dict[str, t.Any]:
        return {"package": package.name, "package_version": package.version, "before": package.state}


def _target(argv: t.Sequence[str]) -> str:
    return argv[-1]


def _both(package: Package) -> tuple[str, str]:
    return package.version, package.state


def _last_words(job: Job) -> str:
    """Return the errors of apt or dnf themselves, which stand at the end."""
    lines = [line for line in job.output().splitlines() if line.startswith(("E: ", "Error: ", "dpkg: error: "))]
    return " ".join(lines[-3:])


def _has_attributes(text: str) -> bool:
    try:
        node = json.loads(text)
    except ValueError:
        return False
    return isinstance(node, dict) and "normal" in node


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
