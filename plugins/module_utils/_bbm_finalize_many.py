# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Finishing many batched background migrations in one process: what runs side by side, and what its answers say."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rails_runner, _ruby_bbm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import BatchedMigration, parse_id
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import key_of, stored_arguments
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import tail

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job

# The way of finishing, beside those of _bbm_finalize, and the name of its job on the host.
MANY = "many"
JOB = "finalize-many"

MOST_AT_ONCE = 8
# All of them stand in one command, whose length has a limit (ARG_MAX); the rest gets a process of its own.
MOST_IN_A_JOB = 500
LOG_BYTES = 2**26

Table = t.Tuple[str, str]


@dataclass(frozen=True)
class Course:
    """How far one migration came in the process; times in seconds of the epoch."""

    began_at: float
    ended_at: float | None = None
    # Why it was not begun, or what was raised, as Ruby prints it.
    refused: str | None = None
    error: str | None = None

    @property
    def did_nothing(self) -> bool:
        """It came to its end; for a row that is not done then GitLab did not find what it looked for."""
        return self.ended_at is not None and not (self.refused or self.error)


def check_parallel(number: int) -> None:
    """Raise :class:`GitLabError` unless so many may run at once."""
    if not 1 <= number <= MOST_AT_ONCE:
        raise GitLabError(
            f"parallel cannot be {number}.",
            f"Give a number from 1 to {MOST_AT_ONCE}: how many migrations, of different tables, are finished side by side.",
        )


def table_of(migration: BatchedMigration) -> Table:
    """Return what no two migrations may work on at the same time: the table, with or without its schema."""
    return migration.database, migration.table_name.rpartition(".")[2].strip('"')


def lanes(migrations: t.Sequence[BatchedMigration], parallel: int) -> list[list[BatchedMigration]]:
    """Return lists that may be worked on side by side, each one in its order and taken up in the order of the lists.

    With one at a time there is nothing to be sorted, so that the order stays as it is.
    """
    if parallel == 1:
        return [list(migrations)]
    found: dict[Table, list[BatchedMigration]] = {}
    for one in migrations:
        found.setdefault(table_of(one), []).append(one)
    return list(found.values())


def session_name(migration: BatchedMigration) -> str:
    """Return the C(application_name) of the session that finishes it."""
    return f"gitlab_fleet_upgrade {migration.id}"


def command(migrations: t.Sequence[BatchedMigration], parallel: int, installation: Installation) -> list[str]:
    """Return the command that finishes all of them."""
    rows = [[_row(one) for one in lane] for lane in lanes(migrations, parallel)]
    return _rails_runner.command(installation, _ruby_bbm.FINALIZE_MANY, {"lanes": rows, "parallel": parallel})


def read_courses(text: str) -> dict[str, Course]:
    """Return by id what the process has told so far, in ``text``, its output."""
    courses: dict[str, Course] = {}
    for answer in _rails_runner.parse_answers(text):
        if answer.get("event") == "begin":
            courses[answer["id"]] = Course(answer["at"])
        elif answer.get("event") == "end" and answer["id"] in courses:
            courses[answer["id"]] = replace(
                courses[answer["id"]],
                ended_at=answer["at"],
                refused=answer.get("refused"),
                error=answer.get("error"),
            )
    return courses


def courses_of(job: Job) -> dict[str, Course]:
    """Return by id what the process of a job has told so far."""
    return read_courses(tail(job.log, LOG_BYTES))


def tables_under_way(job: Job) -> set[Table]:
    """Return the tables of the migrations of a running job that are not over yet."""
    courses = courses_of(job)
    left = [one for one in job.note if one not in courses or courses[one].ended_at is None]
    return {table_of(BatchedMigration.from_row(parse_id(one)[0], job.note[one])) for one in left}


def in_words(ids: t.Sequence[str]) -> str:
    """Name migrations by their ids, of many the first ones."""
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return ", ".join(ids[:3]) + more


def _row(migration: BatchedMigration) -> dict[str, t.Any]:
    wanted = key_of(migration)._replace(job_arguments=stored_arguments(migration))
    return dict(
        wanted._asdict(),
        database=migration.database,
        row_id=migration.row_id,
        id=migration.id,
        session=session_name(migration),
    )
