# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays one recording and says what came of it."""

from __future__ import annotations

import json
import threading
import time
import typing as t

from . import rows, templates
from .application import Application
from .cluster import Cluster, Row
from .processes import Ended, Process
from .scenarios import Recording, Scenario, scenario_of

IN_SECOND_BATCH = 21_000
# seconds
PATIENCE = 60


class Player:
    """Plays recordings one after the other, on databases of its own."""

    def __init__(self, cluster: Cluster, application: Application, worker: int) -> None:
        self._cluster = cluster
        self._application = application
        self._databases = {name: templates.worker_database(name, worker) for name in ("main", "ci")}

    def play(self, recording: Recording) -> Row:
        """The recording's own fields, with what happened here."""
        scenario = scenario_of(recording)
        self._prepare(recording, scenario)
        steps = recording.get("steps", [recording])
        played = (
            self._together(steps, scenario)
            if scenario.together
            else [self._step(index, step, recording, scenario) for index, step in enumerate(steps)]
        )
        return {
            "name": recording["name"],
            "steps": played,
            "after": self._state(recording["after"]),
            "log": self._log(),
        }

    def _prepare(self, recording: Recording, scenario: Scenario) -> None:
        application = self._application
        names = {"one": ["main"], "down": ["main"], "two": ["main", "ci"], "shared": ["main", "ci"]}[scenario.mode]
        used = {name: self._databases["main" if scenario.mode == "shared" else name] for name in names}
        application.configure(used, shared=scenario.mode == "shared", down=scenario.mode == "down")
        application.ship_migrations(scenario.files)
        templates.log_of(application.folder).write_text("")
        setup = recording["setup"] or {}
        for name in ("main", "ci") if len(names) > 1 else ("main",):
            self._cluster.create(self._databases[name], templates.MAIN if name == "main" else templates.CI)
            before = scenario.before if name == "main" else scenario.ci_before
            self._cluster.sql(self._databases[name], recorded_rows(name, setup) + before)

    def _start(self, step: Row, scenario: Scenario) -> Process:
        environment = {"MINI_GITLAB_BEHAVE_AS": scenario.version, **scenario.environment}
        return Process(
            self._application.command(step["command"]),
            cwd=self._application.folder,
            env=self._application.environment(environment),
            stdin=step.get("stdin"),
            terminal=scenario.terminal,
        )

    def _step(self, index: int, step: Row, recording: Recording, scenario: Scenario) -> Row:
        if "setup_step" in step:
            self._cluster.sql(self._databases["main"], step["setup_step"])
            return {}
        process = self._start(step, scenario)
        if scenario.meanwhile:
            self._later(*scenario.meanwhile)
        if scenario.interruption and index == 0:
            self._interrupt(process, scenario)
        return self._outcome(process.finish(scenario.limit), step)

    def _later(self, seconds: float, statement: str) -> None:
        """Runs a statement some seconds after the process has reached the database."""
        database = self._databases["main"]
        self._await(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}'", "postgres")
        threading.Timer(seconds, lambda: self._cluster.sql(database, statement)).start()

    def _await(self, query: str, database: str) -> None:
        """Waits until a query finds something

        Raises:
            TimeoutError: it did not within a minute.
        """
        until = time.monotonic() + PATIENCE
        while not self._cluster.sql(database, f"{query};"):
            if time.monotonic() > until:
                raise TimeoutError(query)
            time.sleep(0.1)

    def _interrupt(self, process: Process, scenario: Scenario) -> None:
        assert scenario.interruption
        if scenario.interruption.after_seconds is not None:
            due = time.monotonic() + scenario.interruption.after_seconds
            process.send_when(scenario.interruption.signal, lambda: time.monotonic() >= due, scenario.limit)
        else:
            process.send_when(scenario.interruption.signal, self._in_second_batch, scenario.limit)

    def _in_second_batch(self) -> bool:
        return rows.copied_events(self._cluster, self._databases["main"]) >= IN_SECOND_BATCH

    def _together(self, steps: list[Row], scenario: Scenario) -> list[Row]:
        processes: list[Process] = []
        for step in steps:
            if processes and scenario.behind_a_job:
                self._await("SELECT 1 FROM batched_background_migration_jobs WHERE status = 1", self._databases["main"])
            processes.append(self._start(step, scenario))
        return [
            self._outcome(process.finish(scenario.limit), step) for process, step in zip(processes, steps, strict=True)
        ]

    def _outcome(self, ended: Ended, step: Row) -> Row:
        outcome: Row = {"exit_code": ended.code, "stdout": ended.stdout, "stderr": ended.stderr}
        if "after_step" in step:
            outcome["after_step"] = self._state(step["after_step"])
        if "schema_migrations_after" in step:
            outcome["schema_migrations_after"] = self._versions(step["schema_migrations_after"])
        return outcome

    def _versions(self, recorded: list[str] | dict[str, list[str]]) -> list[str] | dict[str, list[str]]:
        if isinstance(recorded, list):
            return rows.versions(self._cluster, self._databases["main"])
        return {name: rows.versions(self._cluster, self._databases[name]) for name in recorded}

    def _state(self, recorded: Row | None, name: str = "main") -> Row | None:
        """The state now, in the same parts as the recorded one."""
        if recorded is None:
            return None
        if "schema_migrations" in recorded:
            return {"schema_migrations": self._versions(recorded["schema_migrations"])}
        if "main" in recorded:
            return {database: self._state(part, database) for database, part in recorded.items()}
        summaries = [part for part in recorded if part.endswith("_summary")]
        return rows.state(self._cluster, self._databases[name], summaries)

    def _log(self) -> list[t.Any]:
        text = templates.log_of(self._application.folder).read_text()
        return [json.loads(line) for line in text.splitlines()]


def recorded_rows(name: str, setup: Row) -> str:
    """SQL for what the recording begins with in one database."""
    if "schema_migrations" in setup:
        return rows.version_inserts(setup["schema_migrations"].get(name, []))
    if "main" in setup:
        return rows.inserts(setup[name])
    return rows.inserts(setup) if name == "main" else ""
