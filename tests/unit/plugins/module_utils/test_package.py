# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import (
    DPKG,
    INSTALLED,
    NAMES,
    RPM,
    UNCONFIGURED,
    Package,
    PackageJob,
    configure_command,
    find_package,
    hook_output,
    parse_packages,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

EE = Package("gitlab-ee", "half-configured", "14.2.7-ee.0", DPKG)

# As dpkg 1.21 prints it: a name that another package mentions is known, and not installed.
FOUND_BY_DPKG = "gitlab-ce\tnot-installed\t\ngitlab-ee\thalf-configured\t14.2.7-ee.0\n"

HOOK_FAILED = """\
\x1b[31m===\x1b[0m
\x1b[31mThere was an error running gitlab-ctl reconfigure. Please check the output above for more\x1b[0m
\x1b[31mdetails.\x1b[0m
\x1b[31m===\x1b[0m
dpkg: error processing package gitlab-ee (--configure):
 installed gitlab-ee package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 gitlab-ee
"""
LOCKED = """\
dpkg: error: dpkg frontend lock was locked by another process with pid 129
Note: removing the lock file is always wrong, can damage the locked area
and the entire system. See <https://wiki.debian.org/Teams/Dpkg/FAQ#db-lock>.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FOUND_BY_DPKG, [EE]),
        (
            "gitlab-ce\tconfig-files\t13.12.15-ce.0\ngitlab-ee\tinstalled\t14.0.12-ee.0\n",
            [Package("gitlab-ee", "installed", "14.0.12-ee.0", DPKG)],
        ),
        ("gitlab-fips\tunpacked\t15.11.13-fips.0\n", [Package("gitlab-fips", "unpacked", "15.11.13-fips.0", DPKG)]),
        (
            "gitlab-ce\thalf-installed\t1\ngitlab-ee\ttriggers-pending\t2\n",
            [Package("gitlab-ce", "half-installed", "1", DPKG), Package("gitlab-ee", "triggers-pending", "2", DPKG)],
        ),
        ("gitlab-runner\tinstalled\t16.0.0\n", []),
        # rpm says it on stdout.
        (
            "package gitlab-ce is not installed\ngitlab-jh\tinstalled\t17.8.7-jh.0.el9\n",
            [Package("gitlab-jh", "installed", "17.8.7-jh.0.el9", DPKG)],
        ),
        ("gitlab-ee\n", []),
        ("", []),
    ],
)
def test_packages_on_the_host(text: str, expected: list[Package]) -> None:
    assert parse_packages(text, DPKG) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*NAMES, "gitlab-runner"]),
            st.sampled_from([INSTALLED, *UNCONFIGURED, "config-files", "half-installed", "not-installed"]),
        )
    )
)
def test_every_package_that_is_there_is_seen_and_no_other(rows: list[tuple[str, str]]) -> None:
    text = "".join(f"{name}\t{state}\t1.0\n" for name, state in rows)
    there = [row for row in rows if row[0] in NAMES and row[1] not in ("config-files", "not-installed")]
    assert [(one.name, one.state) for one in parse_packages(text, DPKG)] == there


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_packages(text, DPKG)
    assert "dpkg: error processing" not in hook_output(f"{text}\n{HOOK_FAILED}")


class FakeRunner:
    """Answers by the name of the program."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        self.commands.append(list(argv))
        rc, stdout = self.answers["rpm" if argv[0].endswith("rpm") else "dpkg_query"]
        return CommandResult(list(argv), rc, stdout, "said on stderr")


def test_dpkg_is_asked_for_all_names_at_once() -> None:
    runner = FakeRunner(dpkg_query=(1, FOUND_BY_DPKG))
    assert find_package(runner, "/usr/bin/dpkg-query", "/usr/bin/rpm") == EE
    assert runner.commands == [
        [
            "/usr/bin/dpkg-query",
            "--show",
            "--showformat",
            r"${Package}\t${db:Status-Status}\t${Version}\n",
            "gitlab-ee",
            "gitlab-ce",
            "gitlab-jh",
            "gitlab-fips",
        ]
    ]


@pytest.mark.parametrize("dpkg_query", [None, "/usr/bin/dpkg-query"])
def test_rpm_is_asked_where_dpkg_does_not_know_the_package(dpkg_query: str | None) -> None:
    runner = FakeRunner(dpkg_query=(1, ""), rpm=(3, "gitlab-ce\tinstalled\t14.4.2-ce.0.el7\n"))
    package = find_package(runner, dpkg_query, "/usr/bin/rpm")
    assert package == Package("gitlab-ce", INSTALLED, "14.4.2-ce.0.el7", RPM)
    assert runner.commands[-1][3] == r"%{NAME}\tinstalled\t%{VERSION}-%{RELEASE}\n"


@pytest.mark.parametrize("path", [None, "/usr/bin/dpkg-query"])
def test_no_package_is_an_error(path: str | None) -> None:
    with pytest.raises(GitLabError, match="None of GitLab's packages"):
        find_package(FakeRunner(dpkg_query=(1, "")), path, None)


def test_two_packages_are_an_error_that_names_them() -> None:
    runner = FakeRunner(dpkg_query=(0, "gitlab-ce\tinstalled\t1\ngitlab-ee\tinstalled\t2\n"))
    with pytest.raises(GitLabError, match="gitlab-ce, gitlab-ee"):
        find_package(runner, "/usr/bin/dpkg-query", None)


def test_dpkg_that_cannot_tell_is_not_a_package_that_is_not_there() -> None:
    with pytest.raises(GitLabError, match=r"cannot tell .* said on stderr"):
        find_package(FakeRunner(dpkg_query=(2, "")), "/usr/bin/dpkg-query", None)


def test_the_closing_words_go_and_what_the_hook_said_last_stays() -> None:
    text = f"Ensuring the required services are running\nFailed to start postgresql for migrations\n{HOOK_FAILED}"
    assert hook_output(text).strip().splitlines()[-1] == "Failed to start postgresql for migrations"
    assert hook_output("see gitlab-ee\n gitlab-ee says\n") == "see gitlab-ee\n gitlab-ee says\n"


@dataclass
class FakeJobs:
    """The package's job, which ends when it is told, and perhaps a reconfigure."""

    directory: Path
    present: Job | None = None
    reconfigure: Job | None = None
    started: list[list[str]] = field(default_factory=list)

    def find(self, name: str) -> Job | None:
        return {"gitlab_package": self.present, "reconfigure": self.reconfigure}[name]

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        self.started.append(argv)
        self.present = Job(name, tuple(argv), str(self.directory), RUNNING, 1000.0, note=json.loads(json.dumps(note)))
        return self.present

    def end(self, rc: int | None, log: str = "", errors: str = "") -> None:
        assert self.present is not None
        Path(self.present.log).write_text(log)
        Path(self.present.errors).write_text(errors)
        self.present = replace(self.present, status=LOST if rc is None else ENDED, rc=rc, ended_at=1010.0)

    def collect(self, name: str) -> Job:
        job, self.present = self.find(name), None
        assert job is not None
        return job


@dataclass
class Bench:
    """A host with a package and a job; the memory goes through JSON between two steps as it does in real runs."""

    jobs: FakeJobs
    package: Package = EE
    memory: dict[str, t.Any] = field(default_factory=dict)

    def step(self, check_mode: bool = False) -> t.Any:
        self.memory = json.loads(json.dumps(self.memory))
        work = PackageJob(
            Installation.create("omnibus"), lambda: self.package, t.cast("t.Any", self.jobs), self.memory, check_mode
        )
        waiting = work.advance()
        self.result = work.result
        return waiting

    def becomes(self, state: str) -> None:
        self.package = replace(self.package, state=state)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(FakeJobs(tmp_path))


@pytest.mark.parametrize("state", UNCONFIGURED)
def test_what_is_not_configured_becomes_configured(bench: Bench, state: str) -> None:
    bench.becomes(state)
    waiting = bench.step()
    assert waiting.job.argv == tuple(configure_command("gitlab-ee"))
    assert bench.step().job is bench.jobs.present
    bench.jobs.end(0, "gitlab Reconfigured!\n")
    bench.becomes(INSTALLED)
    assert bench.step() is None
    assert bench.result == {
        "changed": True,
        "package": "gitlab-ee",
        "package_version": "14.2.7-ee.0",
        "before": state,
        "after": INSTALLED,
        "seconds": 10.0,
        "log": f"{bench.jobs.directory}/log",
        "log_tail": "gitlab Reconfigured!\n",
        "notes": [],
        "commands": [configure_command("gitlab-ee")],
    }


def test_the_hook_cannot_read_external_url_and_asks_nobody() -> None:
    assert configure_command("gitlab-ce") == [
        "env",
        "--unset=EXTERNAL_URL",
        "DEBIAN_FRONTEND=noninteractive",
        "dpkg",
        "--configure",
        "gitlab-ce",
    ]


def test_what_is_installed_stays_alone(bench: Bench) -> None:
    bench.becomes(INSTALLED)
    assert bench.step() is None
    assert (bench.result["changed"], bench.result["commands"], bench.result["log"]) == (False, [], None)
    assert bench.jobs.started == []


def test_rpm_has_nothing_to_finish_and_says_so(bench: Bench) -> None:
    bench.package = Package("gitlab-ee", INSTALLED, "16.11.10-ee.0.el9", RPM)
    assert bench.step() is None
    assert not bench.result["changed"]
    assert "rpm leaves no package half-configured" in bench.result["notes"][0]


def test_check_mode_predicts_also_while_the_job_runs(bench: Bench) -> None:
    for _run in range(2):
        assert bench.step(check_mode=True) is None
        assert (bench.result["changed"], bench.result["before"], bench.result["after"]) == (
            True,
            "half-configured",
            INSTALLED,
        )
        assert bench.result["commands"] == [configure_command("gitlab-ee")]
        bench.memory = {}
        bench.jobs.present = Job("gitlab_package", tuple(configure_command("gitlab-ee")), "", RUNNING, 1000.0)
    assert bench.jobs.started == []


def failure(step: Callable[[], t.Any]) -> GitLabError:
    with pytest.raises(GitLabError) as caught:
        step()
    return caught.value


def test_a_hook_that_fails_again_is_explained(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(1, "Failed to start postgresql for migrations\n", HOOK_FAILED)
    error = failure(bench.step)
    assert "ended with exit status 1" in error.msg
    assert "still half-configured" in error.msg
    assert "Failed to start postgresql for migrations" in error.msg
    assert (error.details["changed"], error.details["diagnosis"]["cause"]) == (False, "unknown")
    assert f"{bench.jobs.directory}/log" in str(error.remedy)


def test_a_lock_is_told_from_a_failing_hook(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(2, "", LOCKED)
    error = failure(bench.step)
    assert "locked by another process with pid 129" in error.msg
    assert "wait until it ends" in str(error.remedy)
    assert "diagnosis" not in error.details


def test_a_job_that_was_killed_is_no_success(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(None)
    assert "disappeared without an exit status" in failure(bench.step).msg


def test_exit_status_0_is_no_proof(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(0)
    assert "ended without an error, yet the package is half-configured" in failure(bench.step).msg


def test_the_state_is_the_proof_whatever_the_exit_status(bench: Bench) -> None:
    # dpkg --configure of a package in triggers-awaited: refused, and the triggers were run all the same.
    bench.becomes("triggers-awaited")
    bench.step()
    bench.jobs.end(1)
    bench.becomes(INSTALLED)
    assert bench.step() is None
    assert bench.result["changed"]
    assert "ended with exit status 1" in bench.result["notes"][0]


def test_a_run_that_was_left_alone_counts_when_it_is_proven(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(0)
    bench.becomes(INSTALLED)
    bench.memory = {}
    assert bench.step() is None
    assert (bench.result["changed"], bench.result["before"]) == (True, "half-configured")
    bench.memory = {}
    assert bench.step() is None
    assert not bench.result["changed"]


def test_a_failure_that_was_left_alone_is_tried_again(bench: Bench) -> None:
    bench.step()
    bench.jobs.end(1)
    bench.memory = {}
    assert bench.step() is not None
    assert len(bench.jobs.started) == 2
    assert "An earlier run ended with exit status 1" in bench.memory["notes"][0]


def test_a_reconfigure_that_runs_is_waited_for(bench: Bench) -> None:
    bench.jobs.reconfigure = Job("reconfigure", ("/opt/gitlab/bin/gitlab-ctl", "reconfigure"), "", RUNNING, 1000.0)
    for _step in range(2):
        assert bench.step().job is bench.jobs.reconfigure
        assert bench.jobs.started == []
    bench.jobs.reconfigure = replace(bench.jobs.reconfigure, status=ENDED, rc=1)
    assert bench.step().job is bench.jobs.present
    assert len(bench.jobs.started) == 1


def test_a_package_without_its_files_is_refused(bench: Bench) -> None:
    bench.becomes("half-installed")
    error = failure(bench.step)
    assert error.remedy == "Install it again: apt-get install --reinstall gitlab-ee=14.2.7-ee.0"
    assert bench.jobs.started == []


def test_source_installations_have_no_package() -> None:
    with pytest.raises(GitLabError, match="has no package"):
        PackageJob(Installation.create("source"), lambda: EE, t.cast("t.Any", None), {}, False)
