# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which batched background migrations to finish, by which command, and what the outcome means. Decides, runs nothing."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from enum import Enum

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rails_runner, _ruby_bbm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import (
    FINALIZED,
    FINISHED,
    STATES,
    BatchedMigration,
    parse_id,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import FINALIZE_TASK, Cause
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rake import job_arguments_json, task

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Topology
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

# The runner way; every other way is the name of a task.
RUNNER = "runner"

# gitlab!62634 brought the task.
FIRST_WITH_TASK = (14, 1)
FIRST_WITH_DATABASE_TASKS = (14, 9)
# From then on finalize itself gives exhausted jobs new attempts.
FIRST_RESETTING_ATTEMPTS = (16, 0)

# The instance has the other form of the task, or, as 14.9, reads the arguments as JSON twice, which fails with null.
_OTHER_WAY = frozenset({Cause.DATABASE_NOT_SPECIFIED, Cause.UNKNOWN_TASK, Cause.BAD_JSON, Cause.MISSING_ARGUMENT})


class Key(t.NamedTuple):
    """What GitLab finds a migration by. ``job_arguments`` is native."""

    job_class_name: str
    table_name: str
    column_name: str
    job_arguments: t.Any

    def __str__(self) -> str:
        arguments = json.dumps(self.job_arguments)
        return f"{self.job_class_name} on {self.table_name}.{self.column_name} with arguments {arguments}"


@dataclass(frozen=True)
class Selection:
    """Which migrations are meant: at most one of ``id``, ``key`` and ``ids``; none of them for all unfinished ones."""

    id: str | None = None
    key: Key | None = None
    database: str | None = None
    ids: tuple[str, ...] | None = None


class Verdict(Enum):
    """What an ended finalize means."""

    DONE = "done"
    # This command cannot do it here, another may.
    OTHER_WAY = "other way"
    FAILED = "failed"


def same_json(left: t.Any, right: t.Any) -> bool:
    """Compare as jsonb does: 1 is 1.0 but not true, and the order of keys is of no account."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same_json(one, other) for one, other in zip(left, right))
    return bool(left == right)


def select(selection: Selection, migrations: t.Sequence[BatchedMigration]) -> list[BatchedMigration]:
    """Return the migrations that are meant, in the order in which they are to be finished.

    :raises GitLabError: a named one does not exist; the message shows what comes near.
    """
    inside = [one for one in migrations if selection.database in (None, one.database)]
    if selection.key is not None:
        found = [one for one in inside if _has(one, selection.key)]
        if not found:
            raise _no_key(selection.key, selection.database, migrations)
        return found
    ids = selection.ids if selection.id is None else (selection.id,)
    if ids is not None:
        there = {one.id for one in inside}
        for wanted in ids:
            parse_id(wanted)
            if wanted not in there:
                raise _no_id(wanted, migrations)
        return [one for one in inside if one.id in ids]
    return [one for one in inside if not one.done]


def refuse(migration: BatchedMigration, version: GitLabVersion) -> None:
    """Raise :class:`GitLabError` when this migration must not, or cannot, be finalized here."""
    if migration.status not in STATES:
        raise GitLabError(
            f"{migration.label} has the status {migration.status}, which this collection does not know.",
            "Use a version of the collection that knows this version of GitLab.",
        )
    if version.minor < FIRST_WITH_TASK:
        raise GitLabError(
            f"GitLab {version} cannot finalize a batched background migration; {migration.label} is {migration.state}.",
            "Let Sidekiq finish it (see bbm_status), or install 14.1 or later first, on the upgrade path 14.0.12.",
        )


def twins(migration: BatchedMigration, migrations: t.Iterable[BatchedMigration]) -> list[BatchedMigration]:
    """Return the other rows that a task cannot tell from this one: same configuration, same database or main."""
    mine = key_of(migration)
    return [
        one
        for one in migrations
        if one.id != migration.id and one.database in (migration.database, "main") and _has(one, mine)
    ]


def ways(
    migration: BatchedMigration,
    topology: Topology,
    version: GitLabVersion,
    others: t.Sequence[BatchedMigration],
    without_tasks: t.Container[str] = (),
) -> list[str]:
    """Return how this migration can be finished here, the documented way first.

    ``others`` are its :func:`twins`; ``without_tasks`` the databases whose task was seen to do nothing.

    :raises GitLabError: whatever is called would touch a finalized row as well.
    """
    if any(one.status == FINALIZED and one.database == migration.database for one in others):
        raise GitLabError(
            f"{migration.label} has a twin of the same configuration that is finalized; GitLab cannot tell them apart.",
            "Let Sidekiq finish it (see bbm_status); a finalized migration must not be finalized again.",
        )
    if others or migration.database in without_tasks or not isinstance(stored_arguments(migration), list):
        return [RUNNER]
    suffix = topology.task_suffix(migration.database)
    forms = ["", f":{migration.database}"] if version.minor >= FIRST_WITH_DATABASE_TASKS else [""]
    if suffix in forms:
        forms.sort(key=lambda form: form != suffix)
    try:
        task(FINALIZE_TASK, _task_arguments(migration))
    except GitLabError:
        return [RUNNER]
    return [*(FINALIZE_TASK + form for form in forms), RUNNER]


def command(way: str, migration: BatchedMigration, installation: Installation) -> list[str]:
    """Return the command of one of :func:`ways`."""
    if way != RUNNER:
        return installation.rake(task(way, _task_arguments(migration)))
    wanted = key_of(migration)._replace(job_arguments=stored_arguments(migration))
    value = dict(wanted._asdict(), database=migration.database, row_id=migration.row_id)
    return _rails_runner.command(installation, _ruby_bbm.FINALIZE, value)


def judge(after: BatchedMigration, rc: int | None, cause: Cause) -> Verdict:
    """Say what an ended command means; the row decides, exit status and output only say what to do next.

    finalize either ends the migration or raises. When it did neither it did not find the row.
    """
    if after.done:
        return Verdict.DONE
    if rc == 0 or cause in _OTHER_WAY:
        return Verdict.OTHER_WAY
    return Verdict.FAILED


def reset_needed(version: GitLabVersion) -> bool:
    """True where finalize leaves jobs alone whose attempts are used up."""
    return version.minor < FIRST_RESETTING_ATTEMPTS


def key_of(migration: BatchedMigration) -> Key:
    """Return what GitLab finds this migration by, with native arguments."""
    return Key(migration.job_class_name, migration.table_name, migration.column_name, migration.job_arguments)


def stored_arguments(migration: BatchedMigration) -> t.Any:
    """Return the arguments as they are in the row, which can be a JSON string where a list was meant (14.0)."""
    return migration.row.get("job_arguments", migration.job_arguments)


def untouched_reason(migration: BatchedMigration) -> str | None:
    """Say why a migration needs nothing, or return None when it does."""
    return {
        FINISHED: "It was finished already.",
        FINALIZED: "It is finalized; a finalize would set it back to work whose code may be gone.",
    }.get(migration.status)


def _task_arguments(migration: BatchedMigration) -> list[str]:
    arguments = job_arguments_json(stored_arguments(migration))
    return [migration.job_class_name, migration.table_name, migration.column_name, arguments]


def _has(migration: BatchedMigration, key: Key) -> bool:
    mine = key_of(migration)
    return mine[:3] == key[:3] and same_json(mine.job_arguments, key.job_arguments)


def _no_key(wanted: Key, database: str | None, migrations: t.Sequence[BatchedMigration]) -> GitLabError:
    near = sorted(
        (
            one
            for one in migrations
            if one.table_name == wanted.table_name or one.job_class_name == wanted.job_class_name
        ),
        key=lambda one: (
            one.table_name != wanted.table_name,
            one.job_class_name != wanted.job_class_name,
            one.column_name != wanted.column_name,
        ),
    )
    place = f" in the database {database}" if database else ""
    return _not_found(f"There is no batched background migration {wanted}{place}.", near)


def _no_id(wanted: str, migrations: t.Sequence[BatchedMigration]) -> GitLabError:
    database, row_id = parse_id(wanted)
    near = [one for one in migrations if one.row_id == row_id]
    near += [one for one in migrations if one.database == database and not one.done]
    return _not_found(f"There is no batched background migration {wanted}.", near)


def _not_found(message: str, near: t.Sequence[BatchedMigration]) -> GitLabError:
    shown = [f"{one.id} ({one.state}): {key_of(one)}" for one in near[:5]]
    listed = f" What comes near: {'; '.join(shown)}." if shown else " Nothing comes near it."
    return GitLabError(
        message + listed,
        "GitLab's own task would have printed Done. for it. Take the values, or the id, from bbm_status.",
        near_matches=[one.id for one in near[:5]],
    )
