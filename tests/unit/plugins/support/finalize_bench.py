# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance, a database and jobs that do as they are told, for the steps of bbm_finalize."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import MIGRATIONS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize_record import LAST_ERROR
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalizer import Finalizer
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import ENDED, LOST, RUNNING, Job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection, build_topology
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

Row = dict[str, t.Any]
QUIET = {"hidden": 0, "working": 0, "waiting": 0, "remote": 0}


@dataclass
class FakeSession:
    """One database. An open job belongs to the migration C(of), or to any."""

    name: str
    rows: list[Row]
    open_jobs: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    last_error: Row | None = None
    writes: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)
    dbname: str = "gitlab"

    def fetch(self, sql: str, **parameters: t.Any) -> list[Row]:
        if sql == _orphans.OPEN_JOBS:
            return [job for job in self.open_jobs if job.get("of") in (None, parameters["row_id"])]
        if sql == _orphans.SESSIONS:
            self.asked_for.append(parameters["finalizer"])
            return [self.samples.pop(0) if self.samples else QUIET]
        if sql in (_orphans.FREE, _orphans.AGE):
            self.writes.append(f"{'free' if sql == _orphans.FREE else 'age'} {parameters['ids']}")
            self.open_jobs = [job for job in self.open_jobs if str(job["id"]) not in parameters["ids"].split(",")]
            return [{"id": int(one)} for one in parameters["ids"].split(",")]
        if sql == _orphans.RESET:
            self.writes.append(f"reset {parameters['row_id']}")
            return []
        return [row for row in self.rows if row["id"] == parameters["row_id"]]

    def read(self, parts: t.Any, **parameters: t.Any) -> dict[str, t.Any]:
        return {MIGRATIONS.name: list(self.rows), LAST_ERROR.name: self.last_error}


class FakeJobs:
    """Jobs that end when they are told; ``effects`` says what each start will do to the rows, and how it ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.present: dict[str, Job] = {}
        self.started: list[tuple[str, ...]] = []
        self.effects: list[Callable[[], tuple[int | None, str]]] = []

    def find(self, name: str) -> Job | None:
        return self.present.get(name)

    def start(self, name: str, argv: list[str], cwd: str | None, note: t.Any) -> Job:
        json.dumps(note)
        directory = self.directory / f"{name}.{len(self.started)}"
        directory.mkdir()
        self.started.append(tuple(argv))
        self.present[name] = Job(name, tuple(argv), str(directory), RUNNING, 1000.0, note=note)
        return self.present[name]

    def print(self, name: str, output: str) -> None:
        with Path(self.present[name].log).open("a") as file:
            file.write(output)

    def end(self, name: str) -> None:
        rc, output = self.effects.pop(0)()
        job = self.present[name]
        self.print(name, output)
        self.present[name] = replace(job, status=LOST if rc is None else ENDED, rc=rc, ended_at=1010.0)

    def collect(self, name: str) -> Job:
        return self.present.pop(name)


@dataclass
class FakeInstance:
    databases: list[FakeSession]
    version: GitLabVersion
    installation: Installation = field(default_factory=lambda: Installation.create("omnibus"))

    @property
    def topology(self) -> t.Any:
        return build_topology([Connection(one.name, f"gitlab_{one.name}") for one in self.databases])

    def session(self, name: str) -> FakeSession:
        return next(one for one in self.databases if one.name == name)

    def sessions(self) -> list[FakeSession]:
        return self.databases


def row(number: int, status: int = 1, table: str = "events") -> Row:
    return {
        "id": number,
        "status": status,
        "job_class_name": "BackfillX",
        "table_name": table,
        "column_name": "id",
        "job_arguments": [number],
    }


@dataclass
class Bench:
    """One instance and its finalizer, whose memory goes through JSON between two steps as it does in real runs."""

    instance: FakeInstance
    jobs: FakeJobs
    memory: dict[str, t.Any] = field(default_factory=dict)
    grace: int = 3
    parallel: int = 1
    selection: Selection = field(default_factory=Selection)

    def step(self, check_mode: bool = False) -> t.Any:
        self.memory = json.loads(json.dumps(self.memory))
        finalizer = Finalizer(
            t.cast("t.Any", self.instance),
            t.cast("t.Any", self.jobs),
            self.memory,
            orphan_grace=self.grace,
            parallel=self.parallel,
            check_mode=check_mode,
            sleep=lambda _seconds: None,
        )
        if not self.memory:
            finalizer.select(self.selection)
        waiting = finalizer.advance()
        self.results = finalizer.results()
        return waiting

    def run(self) -> list[dict[str, t.Any]]:
        while True:
            waiting = self.step()
            if waiting is None:
                return self.results
            assert waiting.job is not None
            self.jobs.end(waiting.job.name)


def finishes(one: Row) -> Callable[[], tuple[int | None, str]]:
    def effect() -> tuple[int | None, str]:
        one["status"] = 3
        return 0, "Done.\n"

    return effect


def ends(rc: int | None, output: str, one: Row | None = None, status: int = 5) -> Callable[[], tuple[int | None, str]]:
    def effect() -> tuple[int | None, str]:
        if one is not None:
            one["status"] = status
        return rc, output

    return effect


def task_of(argv: tuple[str, ...]) -> str:
    return argv[1].split("[")[0]
