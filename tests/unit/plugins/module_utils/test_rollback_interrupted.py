# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollback that breaks off anywhere: what the next run does, by the order and the conditions that stand in the role.

The tasks come from the role's own files, with their conditions; only what each of them does to the instance is said here,
in as many parts as it can break off between.
"""

from __future__ import annotations

import functools
import itertools
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import jinja2
import pytest
import yaml
from rollbacks import BACK, FAILED, FINISHED, MANIFEST, MINE, NEWER, OPTIONS, OTHER, SAME

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback as rb
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest

TASKS = Path(__file__).parents[4] / "roles" / "rollback_restore" / "tasks"
OLD, NEW = MANIFEST.gitlab.version, "14.2.7-ee"
# An older backup, which nothing was restored from.
ANOTHER = replace(
    MANIFEST,
    id="1690000000_2023_07_22_13.12.15-ee",
    archive=replace(MANIFEST.archive, sha256=OTHER),
    gitlab=replace(MANIFEST.gitlab, version="13.12.15-ee"),
)


class BrokenOffError(Exception):
    """The run ends here."""


@dataclass
class World:
    """An instance of two nodes; ``whole`` are the databases with all their rows, of whatever version."""

    schema: rb.Schema
    deploy: str = NEW
    other: str = NEW
    configuration: str = NEW
    database: str = "failed upgrade"
    repositories: str = NEW
    postgresql: int = 14
    redis: str = "newer jobs"
    record: dict[str, t.Any] | None = None
    # A restore goes on on the host without anybody: None, it runs, ended and not looked at.
    job: str | None = None
    remembered: bool = False
    serving: bool = False
    # Sidekiq runs, on whatever is there.
    writing: bool = True
    log: list[str] = field(default_factory=list)

    @property
    def restored(self) -> bool:
        return self.touched == (OLD, OLD, OLD, "restored", OLD, 13, "jobs of the restore")

    @property
    def touched(self) -> tuple[t.Any, ...]:
        packages = self.deploy, self.other, self.configuration
        return (*packages, self.database, self.repositories, self.postgresql, self.redis)

    def copy(self) -> World:
        return replace(self, log=[])

    def facts(self) -> rb.Facts:
        state = "installed" if self.deploy == OLD else "half-configured"
        return replace(FAILED, version=self.deploy, package_state=state, schemas=[self.schema], record=self.record)


def change(**values: t.Any) -> t.Callable[[World], None]:
    def apply(world: World) -> None:
        vars(world).update(values)

    return apply


def start(world: World) -> None:
    assert world.restored, f"services start on {world}"
    world.serving, world.remembered = True, False


def prove_packages(world: World) -> None:
    assert (world.deploy, world.other) == (OLD, OLD)


def restore_record(world: World) -> None:
    assert world.database == "empty", "gitlab_restore refuses databases that are not empty"
    assert not world.writing
    world.record = _rolling_back.restore(world.record, MANIFEST.id, MINE, database_only=False)


def begin(world: World) -> None:
    world.record = _rolling_back.begin(world.record, MANIFEST.id, MINE, database_only=False, rollback=True)


def finish(world: World) -> None:
    world.record = _rolling_back.finish(world.record, MANIFEST.id, MINE, database_only=False, finished_at=1.5)


def drop_half(world: World) -> None:
    assert not world.writing, "database_clean refuses while Sidekiq is connected"
    world.database = "half"


# What each task does, part by part. The schema of half a database is the worst there can be: it looks whole.
EFFECTS: dict[str, list[t.Callable[[World], None]]] = {
    "roll_back | Stop the services that write, on every node": [change(serving=False, remembered=True, writing=False)],
    "begin | Record that rolling back has begun": [begin],
    "restore | Go back to the PostgreSQL of that time": [change(postgresql=13, writing=True)],
    "restore | Stop again what came up with the old PostgreSQL": [change(writing=False)],
    "restore | Install the old package on every node, with its hooks kept still": [
        change(deploy=OLD),
        change(other=OLD),
    ],
    "restore | Put the configuration and the secrets back": [change(configuration="half"), change(configuration=OLD)],
    "restore | Make every node's services those of the old version": [],
    "restore | Keep jobs of the newer version from the older Sidekiq": [change(redis="empty")],
    "restore | Drop everything, so that nothing of the newer version is left behind": [
        drop_half,
        change(database="empty", schema=replace(SAME, rows=None)),
    ],
    "restore | Restore the backup": [
        restore_record,
        change(database="half", schema=SAME),
        change(database="restored", repositories=OLD, redis="jobs of the restore"),
        finish,
    ],
    "packages | Require that of the backup": [prove_packages],
    "roll_back | Forget the restore, which is over": [change(record=None)],
    "roll_back | Start every service again": [start],
}
TAKE_UP = "roll_back | Take up a restore that an interrupted run left behind"
PUT_BACK = "roll_back | Leave every service as it was found, where nothing has been changed yet"


class Task(t.NamedTuple):
    name: str
    conditions: tuple[str, ...]
    facts: dict[str, t.Any]


def flatten(file: str, outer: tuple[str, ...] = ()) -> t.Iterator[Task]:
    """The tasks of a file, of its blocks and of the files that it includes, with all conditions that hold for each."""
    for task in yaml.safe_load((TASKS / file).read_text(encoding="utf-8")):
        yield from _flatten(task, outer)


def _flatten(task: dict[str, t.Any], outer: tuple[str, ...]) -> t.Iterator[Task]:
    when = task.get("when", [])
    conditions = (*outer, *(str(one) for one in (when if isinstance(when, list) else [when])))
    if "block" in task:
        for inner in task["block"]:
            yield from _flatten(inner, conditions)
        return
    if task.get("ansible.builtin.include_role", {}).get("tasks_from") == "unanswered":
        # Both nodes answer here; where one is lost the run ends as at any other failure.
        return
    yield Task(task["name"], conditions, task.get("ansible.builtin.set_fact", {}))
    included = task.get("ansible.builtin.include_tasks", {}).get("file")
    if included in ("begin.yml", "restore.yml", "packages.yml"):
        yield from flatten(included, conditions)


ALL = list(flatten("roll_back.yml"))


@functools.lru_cache(None)
def expression(text: str) -> t.Callable[..., t.Any]:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).compile_expression(
        text.strip(), undefined_to_none=False
    )


def run(
    world: World, cut: int | None, killed: bool, found: tuple[t.Any, ...] = (), manifest: Manifest = MANIFEST
) -> int:
    """Play the role, break off after ``cut`` parts, and return how many parts there were.

    ``found`` is what the instance was like when the first run came to it, and ``manifest`` the backup that is named.
    """
    facts = replace(world.facts(), manifest=manifest)
    there = rb.state(facts, OPTIONS)
    under_way = _rolling_back.target(facts.record)
    check = {
        "state": there,
        "version": facts.version,
        "backup": manifest.to_dict(),
        "begun": rb.is_begun(facts.record, manifest),
        "rolling_back": under_way and under_way.backup,
        "postgresql": "revert" if world.postgresql == 14 else None,
    }
    names: dict[str, t.Any] = {
        "__rollback_restore_check": check,
        "__rollback_restore_taken_up": {"restored": False},
        "ansible_check_mode": False,
        "rollback_restore_configuration": "from_backup",
        "rollback_restore_redis": "empty",
        "rollback_restore_services_after": "running",
    }
    if there == rb.NOTHING and not world.remembered:
        return 0
    parts = 0
    try:
        for task in ALL:
            if not all(expression(condition)(**names) for condition in task.conditions):
                continue
            for name, value in task.facts.items():
                names[name] = expression(value.strip("{} \n"))(**names) if isinstance(value, str) else value
            if task.name == TAKE_UP:
                if world.job == "runs":
                    raise BrokenOffError
                if world.job and not rb.is_finished(world.record, MANIFEST):
                    finish(world)
                names["__rollback_restore_taken_up"] = {"restored": rb.is_finished(world.record, MANIFEST)}
                world.job = None
            for effect in EFFECTS.get(task.name, []):
                if parts == cut:
                    raise BrokenOffError
                effect(world)
                world.log.append(task.name)
                parts += 1
    except BrokenOffError:
        # A run that fails can still put back what it has stopped; a killed one cannot.
        if not killed and names["__rollback_restore_may_serve"] and world.remembered:
            assert world.touched == found or world.restored, f"half a rollback serves: {world}"
            world.serving, world.remembered = True, False
    return parts


FINISHED_DATABASES = {**FINISHED, "database_only": True}
BEGINNINGS = {
    "failed while migrating": World(NEWER),
    "failed before its first migration": World(SAME),
    "failed again after a rollback": World(NEWER, record=dict(FINISHED)),
    "failed again before its first migration": World(SAME, record=dict(FINISHED)),
    "only the deploy node was upgraded": World(NEWER, other=OLD),
    "only the databases were restored before": World(
        SAME, OLD, OLD, OLD, "restored", NEW, 13, "jobs of the restore", dict(FINISHED_DATABASES), remembered=True
    ),
    "restored, then emptied by hand": World(
        replace(SAME, rows=None),
        OLD,
        OLD,
        OLD,
        "empty",
        OLD,
        13,
        "jobs of the restore",
        dict(FINISHED),
        remembered=True,
    ),
}


def test_every_task_that_the_tables_speak_of_is_in_the_role() -> None:
    names = [task.name for task in ALL]
    assert [name for name in [*EFFECTS, TAKE_UP] if name not in names] == []
    assert any(task["name"] == PUT_BACK for task in yaml.safe_load((TASKS / "roll_back.yml").read_text())[-1]["always"])


@pytest.mark.parametrize("beginning", list(BEGINNINGS))
def test_wherever_it_breaks_off_once_or_twice_the_next_run_ends_it(beginning: str) -> None:
    found = BEGINNINGS[beginning].touched
    parts = run(BEGINNINGS[beginning].copy(), None, True)
    assert parts > 10
    for first, second in itertools.product(range(parts + 1), range(parts + 2)):
        # A run that fails puts the services back that it has stopped; that the one before was killed is worse.
        for killed in (True, False) if second > parts else (True,):
            world = BEGINNINGS[beginning].copy()
            run(world, first, killed, found)
            run(world, second, False, found)
            run(world, None, False, found)
            assert world.restored, (first, second, world)
            assert world.serving, (first, second, world)
            assert world.record is None


@pytest.mark.parametrize("beginning", list(BEGINNINGS))
def test_a_restore_that_goes_on_alone_is_taken_up(beginning: str) -> None:
    world = BEGINNINGS[beginning].copy()
    parts = run(world.copy(), None, True)
    last = EFFECTS["restore | Restore the backup"]
    # After its first table, before anybody saw its end.
    run(world, parts - 5, True)
    assert (world.database, _rolling_back.files_begun(world.record)) == ("half", True)
    last[2](world)
    world.job = "ended"
    world.log.clear()
    run(world, None, True)
    assert "restore | Restore the backup" not in world.log
    assert world.restored
    assert world.serving


@pytest.mark.parametrize("beginning", list(BEGINNINGS))
def test_another_backup_that_is_named_after_it_broke_off_starts_nothing(beginning: str) -> None:
    found = BEGINNINGS[beginning].touched
    for first in range(run(BEGINNINGS[beginning].copy(), None, True)):
        world = BEGINNINGS[beginning].copy()
        run(world, first, True)
        if world.database == "half" and _rolling_back.files_begun(world.record):
            world.job = "runs"
        # It fails before it records anything of its own; run() sees whether something serves then.
        run(world, 1, False, found, ANOTHER)
        assert not (world.serving and _rolling_back.target(world.record)), (first, world)
        if world.job:
            EFFECTS["restore | Restore the backup"][2](world)
            world.job = "ended"
        run(world, None, False)
        assert world.restored, (first, world)
        assert world.serving, (first, world)


# After which part of a failed upgrade's rollback it breaks off, and what the next run makes of it.
NEXT = [
    ("nothing", rb.ROLL_BACK, False),
    ("roll_back | Stop the services that write, on every node", rb.ROLL_BACK, False),
    ("begin | Record that rolling back has begun", rb.ROLL_BACK, True),
    ("restore | Go back to the PostgreSQL of that time", rb.ROLL_BACK, True),
    ("restore | Stop again what came up with the old PostgreSQL", rb.ROLL_BACK, True),
    ("restore | Install the old package on every node, with its hooks kept still", rb.ROLL_BACK, True),
    ("restore | Install the old package on every node, with its hooks kept still", rb.ROLL_BACK, True),
    ("restore | Put the configuration and the secrets back", rb.ROLL_BACK, True),
    ("restore | Put the configuration and the secrets back", rb.ROLL_BACK, True),
    ("restore | Keep jobs of the newer version from the older Sidekiq", rb.ROLL_BACK, True),
    ("restore | Drop everything, so that nothing of the newer version is left behind", rb.ROLL_BACK, True),
    ("restore | Drop everything, so that nothing of the newer version is left behind", rb.ROLL_BACK, True),
    ("restore | Restore the backup", rb.ROLL_BACK, True),
    ("restore | Restore the backup", rb.ROLL_BACK, True),
    ("restore | Restore the backup", rb.ROLL_BACK, True),
    ("restore | Restore the backup", rb.RESTORED, False),
    ("packages | Require that of the backup", rb.RESTORED, False),
    ("roll_back | Forget the restore, which is over", rb.NOTHING, False),
    ("roll_back | Start every service again", rb.NOTHING, False),
]


@pytest.mark.parametrize("schema", [NEWER, SAME], ids=["migrated", "not migrated"])
def test_what_the_next_run_makes_of_it(schema: rb.Schema) -> None:
    found = []
    for cut in range(len(NEXT)):
        world = World(schema)
        run(world, cut, True)
        facts = world.facts()
        found.append(
            ((world.log or ["nothing"])[-1], rb.state(facts, OPTIONS), rb.is_begun(facts.record, MANIFEST)),
        )
    assert found == NEXT
    assert run(World(schema), None, True) == len(NEXT) - 1


def test_the_facts_of_the_tables_are_those_of_the_other_tests() -> None:
    assert World(SAME, OLD).facts() == replace(BACK, schemas=[SAME])
