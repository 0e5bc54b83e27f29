# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package import DPKG, INSTALLED, RPM, Package
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._package_install import (
    MARK,
    MARKERS,
    Host,
    InstallJob,
    Wish,
    command,
    is_downgrade,
    parse_dnf,
    parse_madison,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult

NEW = Package("gitlab-ee", "half-configured", "14.2.7-ee.0", DPKG)
OLD = Package("gitlab-ee", INSTALLED, "14.0.12-ee.0", DPKG)
BACK = Wish("14.0.12-ee.0", None, True, True)

APT = [
    *("env", "--unset=EXTERNAL_URL", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-remove"),
    *("--no-install-recommends", "--allow-change-held-packages", "-o", "DPkg::Lock::Timeout=300"),
    *("-o", "Dpkg::Options::=--force-confold"),
]
DNF = ["env", "--unset=EXTERNAL_URL", "dnf"]

# As apt 2.6 and dnf 4 print them.
MADISON = """\
 gitlab-ee | 14.2.7-ee.0 | https://packages.gitlab.com/gitlab/gitlab-ee/debian buster/main amd64 Packages
 gitlab-ee | 14.0.12-ee.0 | https://packages.gitlab.com/gitlab/gitlab-ee/debian buster/main amd64 Packages
 gitlab-ee | 14.0.12-ee.0 | https://mirror.example.com/gitlab buster/main amd64 Packages
"""
LISTED = """\
Installed Packages
gitlab-ee.x86_64          14.2.7-ee.0.el8          @gitlab_gitlab-ee
Available Packages
gitlab-ee.x86_64          14.0.12-ee.0.el8         gitlab_gitlab-ee
gitlab-ee-other.x86_64    1-1                      gitlab_gitlab-ee
"""


@pytest.mark.parametrize(
    ("package", "wish", "expected"),
    [
        (NEW, BACK, [*APT, "--allow-downgrades", "gitlab-ee=14.0.12-ee.0"]),
        (NEW, BACK._replace(file="/srv/old.deb"), [*APT, "--allow-downgrades", "/srv/old.deb"]),
        (OLD, BACK._replace(version="14.2.7-ee.0"), [*APT, "gitlab-ee=14.2.7-ee.0"]),
        (
            Package("gitlab-ce", INSTALLED, "14.2.7-ce.0.el8", RPM),
            BACK._replace(version="14.0.12-ce.0.el8"),
            [*DNF, "downgrade", "--assumeyes", "gitlab-ce-14.0.12-ce.0.el8"],
        ),
        (
            Package("gitlab-ce", INSTALLED, "14.0.12-ce.0.el8", RPM),
            BACK._replace(version="14.2.7-ce.0.el8", file="/srv/new.rpm"),
            [*DNF, "install", "--assumeyes", "/srv/new.rpm"],
        ),
    ],
)
def test_the_command(package: Package, wish: Wish, expected: list[str]) -> None:
    assert command(package, wish) == expected


def test_what_the_package_sources_have() -> None:
    assert parse_madison(MADISON, "gitlab-ee") == ["14.2.7-ee.0", "14.0.12-ee.0"]
    assert parse_madison(MADISON, "gitlab-ce") == []
    assert parse_dnf(LISTED, "gitlab-ee") == ["14.2.7-ee.0.el8", "14.0.12-ee.0.el8"]


@given(st.text())
def test_any_list_is_read_without_an_error(text: str) -> None:
    parse_madison(text, "gitlab-ee")
    parse_dnf(text, "gitlab-ee")


@given(st.lists(st.tuples(*[st.integers(0, 99)] * 3), min_size=2, max_size=2))
def test_one_of_two_versions_is_older_or_they_are_the_same(versions: list[tuple[int, int, int]]) -> None:
    one, other = (".".join(map(str, numbers)) + "-ee.0" for numbers in versions)
    assert [is_downgrade(one, other), is_downgrade(other, one)].count(True) == (one != other)


class FakeRunner:
    """A host with a package manager that lists MADISON, and perhaps holds."""

    def __init__(self) -> None:
        self.held = False
        self.commands: list[list[str]] = []
        self.file = (0, "gitlab-ee\t14.0.12-ee.0", "")

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        words = list(argv)
        self.commands.append(words)
        if words[:2] == ["apt-mark", "hold"]:
            self.held = True
        if words[0] in ("dpkg-deb", "rpm"):
            return CommandResult(words, *self.file)
        output = {"apt-mark": "gitlab-ee\n" if self.held else "", "apt-cache": MADISON, "dnf": LISTED}[words[0]]
        return CommandResult(words, 0, output, "")


@dataclass
class FakeJobs:
    """The package's job, which ends when it is told."""

    directory: Path
    present: Job | None = None
    refuses: bool = False

    def find(self, name: str) -> Job | None:
        return {"gitlab_package": self.present, "reconfigure": None}[name]

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        if self.refuses:
            raise GitLabError("The job could not be started.")
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
    """A host whose package changes when it is told; the memory goes through JSON between two steps."""

    jobs: FakeJobs
    configuration: Path
    package: Package = NEW
    wish: Wish = BACK
    runner: FakeRunner = field(default_factory=FakeRunner)
    memory: dict[str, t.Any] = field(default_factory=dict)

    def step(self, check_mode: bool = False) -> t.Any:
        self.memory = json.loads(json.dumps(self.memory))
        work = InstallJob(
            Installation.create("omnibus"),
            lambda: self.package,
            Host(self.runner, str(self.configuration), str(self.configuration.parent)),
            t.cast("t.Any", self.jobs),
            self.memory,
            self.wish,
            check_mode,
        )
        waiting = work.advance()
        self.result = work.result
        return waiting

    @property
    def markers(self) -> list[str]:
        return sorted(path.name for path in self.configuration.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    configuration, job = tmp_path / "etc", tmp_path / "job"
    configuration.mkdir()
    job.mkdir()
    return Bench(FakeJobs(job), configuration)


def test_an_older_version_takes_the_place_of_a_newer_one(bench: Bench) -> None:
    waiting = bench.step()
    assert waiting.job.argv == (*APT, "--allow-downgrades", "gitlab-ee=14.0.12-ee.0")
    assert bench.markers == sorted(MARKERS)
    # In the middle of it dpkg tells of the older version already, to which no downgrade leads.
    bench.package = replace(OLD, state="unpacked")
    assert bench.step().job is bench.jobs.present
    assert bench.markers == sorted(MARKERS)
    bench.package = OLD
    bench.jobs.end(0, "Setting up gitlab-ee\n")
    assert bench.step() is None
    assert bench.markers == []
    assert bench.result == {
        "changed": True,
        "package": "gitlab-ee",
        "package_version": "14.0.12-ee.0",
        "version_before": "14.2.7-ee.0",
        "before": "half-configured",
        "after": INSTALLED,
        "seconds": 10.0,
        "log": f"{bench.jobs.directory}/log",
        "log_tail": "Setting up gitlab-ee\n",
        "notes": [],
        "commands": [[*APT, "--allow-downgrades", "gitlab-ee=14.0.12-ee.0"]],
    }


@pytest.mark.parametrize("name", MARKERS)
def test_a_marker_of_the_operator_stays(bench: Bench, name: str) -> None:
    (bench.configuration / name).write_text("")
    bench.step()
    bench.package = OLD
    bench.jobs.end(0)
    bench.step()
    assert bench.markers == [name]
    assert (bench.configuration / name).read_text() == ""


def test_without_skipped_hooks_no_marker_is_placed(bench: Bench) -> None:
    bench.wish = BACK._replace(skip_hooks=False)
    bench.step()
    assert bench.markers == []


@pytest.mark.parametrize("rc", [100, None])
def test_a_failure_takes_the_markers_away_and_says_what_apt_said(bench: Bench, rc: int | None) -> None:
    bench.step()
    bench.jobs.end(rc, "", "E: Could not get lock\nE: Unable to lock\n")
    with pytest.raises(GitLabError, match=r"is half-configured in the version 14.2.7-ee.0.*E: Unable to lock") as error:
        bench.step()
    assert error.value.details["package_version"] == "14.2.7-ee.0"
    assert bench.markers == []


def test_a_job_that_cannot_be_started_leaves_no_marker(bench: Bench) -> None:
    bench.jobs.refuses = True
    with pytest.raises(GitLabError, match="could not be started"):
        bench.step()
    assert bench.markers == []


def test_what_an_interrupted_run_left_is_taken_away(bench: Bench) -> None:
    bench.package = OLD
    for name in MARKERS:
        (bench.configuration / name).write_text(MARK)
    assert bench.step(check_mode=True) is None
    assert bench.markers == sorted(MARKERS)
    bench.memory = {}
    assert bench.step() is None
    assert bench.markers == []
    assert bench.result["changed"]
    assert "skip-auto-reconfigure" in bench.result["notes"][0]
    bench.memory = {}
    bench.step()
    assert (bench.result["changed"], bench.result["commands"], bench.result["notes"]) == (False, [], [])


def test_a_run_whose_end_nobody_saw_counts(bench: Bench) -> None:
    bench.step()
    bench.memory = {}
    bench.package = OLD
    bench.jobs.end(0)
    assert bench.step() is None
    assert (bench.result["changed"], bench.result["version_before"]) == (True, "14.2.7-ee.0")
    assert bench.markers == []


def test_a_hold_is_put_back(bench: Bench) -> None:
    bench.runner.held = True
    bench.step()
    bench.runner.held = False
    bench.package = OLD
    bench.jobs.end(0)
    bench.step()
    assert bench.runner.held


def test_check_mode_starts_nothing_and_places_nothing(bench: Bench) -> None:
    assert bench.step(check_mode=True) is None
    assert (bench.jobs.present, bench.markers) == (None, [])
    assert (bench.result["changed"], bench.result["package_version"]) == (True, "14.0.12-ee.0")


@pytest.mark.parametrize(
    ("wish", "file", "message"),
    [
        (BACK._replace(allow_downgrade=False), None, r"14\.0\.12-ee\.0 is older"),
        (BACK._replace(version="14.0.11-ee.0"), None, r"do not have gitlab-ee 14\.0\.11-ee\.0 \(they have 14\.2\.7"),
        (BACK._replace(file="/srv/x.deb"), (2, "", "not a Debian format archive"), "not a Debian format archive"),
        (BACK._replace(file="/srv/x.deb"), (0, "gitlab-ce\t14.0.12-ce.0", ""), r"gitlab-ce 14\.0\.12-ce\.0"),
        (BACK._replace(file="/srv/x.deb"), (0, "gitlab-ee\t14.0.11-ee.0", ""), r"gitlab-ee 14\.0\.11-ee\.0"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_what_cannot_be_done_is_refused(
    bench: Bench, wish: Wish, file: tuple[int, str, str] | None, message: str, check_mode: bool
) -> None:
    bench.wish = wish
    bench.runner.file = file or bench.runner.file
    with pytest.raises(GitLabError, match=message):
        bench.step(check_mode)
    assert (bench.jobs.present, bench.markers) == (None, [])


def test_the_file_that_is_right_is_taken(bench: Bench) -> None:
    bench.wish = BACK._replace(file="/srv/old.deb")
    assert bench.step().job.argv[-1] == "/srv/old.deb"


def test_what_an_aborted_reconfigure_left_does_not_stop_the_package(bench: Bench) -> None:
    folder = bench.configuration.parent
    for name, text in {"good": '{"normal": {}}', "aborted": '{"name": "x"}', "cut": '{"nor', "list": "[]"}.items():
        (folder / f"{name}.json").write_text(text)
    bench.step(check_mode=True)
    assert len(list(folder.glob("*.json"))) == 4
    bench.memory = {}
    bench.step()
    assert [path.name for path in folder.glob("*.json")] == ["good.json"]
    assert sorted(path.name for path in folder.glob("*.broken")) == [
        "aborted.json.broken",
        "cut.json.broken",
        "list.json.broken",
    ]
    assert "aborted.json.broken" in bench.memory["notes"][0]


def test_what_an_aborted_reconfigure_left_stays_where_the_hooks_run(bench: Bench) -> None:
    bench.wish = BACK._replace(skip_hooks=False)
    broken = bench.configuration.parent / "aborted.json"
    broken.write_text("{}")
    bench.step()
    assert broken.exists()
