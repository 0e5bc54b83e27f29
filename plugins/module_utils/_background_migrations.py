# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The background migrations of the older, non-batched kind: how many of each class are left, and what that means.

They are in two places that do not agree. Sidekiq has a message for each job, in Redis; some classes have a tracked row
for each job besides, in C(background_migration_jobs). A lost message leaves a pending row, and many classes keep none.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rails_runner, _ruby_background_migrations
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_known import (
    DEADLINES,
    LAST_WITH_BACKGROUND_MIGRATIONS,
    STUCK,
    has_ignorable,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import read_migrations
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_safety import ignored
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import BACKGROUND, GUARDS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import diagnose
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import iso

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Topology
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

# Where a message is: those that count as remaining, what Sidekiq is working on, and those that have failed.
WAITING = ("queued", "scheduled")
RUNNING = ("running",)
FAILED = ("retrying", "dead")
PLACES = (*WAITING, *RUNNING, *FAILED)

_CLASS = re.compile(r"(::)?[A-Z]\w*(::[A-Z]\w*)*\Z")

Pending = t.Mapping[str, t.Mapping[str, int]]
Answer = t.Mapping[str, t.Any]


@dataclass
class Left:
    """What is left of one class in one database; None stands for what was not, or could not be, asked."""

    database: str
    class_name: str
    pending: int | None = 0
    messages: dict[str, int] | None = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    present: bool | None = None
    last_error: dict[str, t.Any] | None = None

    @property
    def remaining(self) -> int | None:
        """The messages that Sidekiq will work on, as GitLab's own C(remaining) counts them."""
        return None if self.messages is None else sum(self.messages[place] for place in WAITING)

    @property
    def failed(self) -> int | None:
        """The messages that wait for another try, or are dead."""
        return None if self.messages is None else sum(self.messages[place] for place in FAILED)

    @property
    def label(self) -> str:
        return f"{self.class_name} ({self.database})"

    def attempts(self, with_failed: bool) -> int:
        """Return how many jobs a run would begin: those of Sidekiq, and the rows, of which it may skip some."""
        if self.present is False:
            return 0
        return (self.remaining or 0) + (self.failed or 0 if with_failed else 0) + (self.pending or 0)

    def to_dict(self) -> dict[str, t.Any]:
        stuck, deadline = STUCK.get(self.class_name), DEADLINES.get(self.class_name)
        return {
            "database": self.database,
            "class_name": self.class_name,
            "pending": self.pending,
            "remaining": self.remaining,
            "failed": self.failed,
            **{place: self.messages and self.messages[place] for place in PLACES},
            "present": self.present,
            "last_error": self.last_error,
            "stuck": stuck.to_dict() if stuck else None,
            "finish_before": f"{deadline.before[0]}.{deadline.before[1]}" if deadline else None,
        }


@dataclass(frozen=True)
class Reading:
    """What is left of all classes. ``remaining`` is what GitLab itself counts, by connection; None: not counted.

    ``engine`` is False where this version of GitLab has nothing of it any more, None where it was not asked.
    """

    left: list[Left]
    remaining: dict[str, int] | None
    engine: bool | None

    def chosen(self, classes: t.Collection[str] | None) -> list[Left]:
        """Return what is left of these classes, None for all."""
        return [one for one in self.left if classes is None or one.class_name in classes]


def class_names(names: t.Sequence[str] | None, option: str = "classes") -> list[str] | None:
    """Return class names as rows have them, each once; None for no restriction.

    :raises GitLabError: one is none.
    """
    for name in names or ():
        if not _CLASS.match(name):
            raise GitLabError(
                f"{option}: {name!r} is not the name of a class.",
                "Give names as they are in C(classes) of the result, such as BackfillDraftStatusOnMergeRequests.",
            )
    return list(dict.fromkeys(name[2:] if name.startswith("::") else name for name in names)) if names else None


def read_pending(instance: Instance) -> dict[str, dict[str, int]]:
    """Return the number of pending tracked rows, by database and class. Boots no Rails.

    :raises GitLabError: a database does not answer, or has no such table.
    """
    pending = {}
    for session in instance.sessions():
        answers = session.read([GUARDS, BACKGROUND])
        if BACKGROUND.name not in answers:
            raise GitLabError(
                f"The database {session.dbname} has no table background_migration_jobs.",
                "Check the option databases; if a restore broke off, run it again.",
                database=session.dbname,
            )
        pending[session.name] = answers[BACKGROUND.name]
    return pending


def connections(topology: Topology) -> list[str]:
    """Return all connections: Sidekiq has a queue for each, also where two lead to one database."""
    return [name for database in topology.databases for name in database.connections]


def count_command(instance: Instance, pending: Pending) -> list[str]:
    """Return the command that counts what is in Redis."""
    value = {
        "connections": connections(instance.topology),
        "row_classes": sorted({name for classes in pending.values() for name in classes}),
    }
    return _rails_runner.command(instance.installation, _ruby_background_migrations.COUNT, value)


def ask(instance: Instance, argv: list[str]) -> Answer:
    """Run :func:`count_command` and return what it answered.

    :raises GitLabError: it answered nothing, which is not the same as nothing being left.
    """
    done = instance.runner.run(argv, cwd=instance.installation.working_directory)
    answer = _rails_runner.parse_answer(done.stdout)
    if answer is None or done.rc != 0 or answer.get("refused"):
        raise no_answer(done.output, done.rc, answer)
    return answer


def no_answer(output: str, rc: int | None, answer: Answer | None) -> GitLabError:
    """Say why the Ruby inside GitLab did not answer."""
    if answer and answer.get("refused"):
        return GitLabError(
            f"The code inside GitLab refused: {answer['refused']}", "Check the option databases, and run this again."
        )
    diagnosis = diagnose(output, rc)
    lost = " Its process disappeared without an exit status." if rc is None else ""
    return GitLabError(
        f"GitLab did not say what is left in Sidekiq.{lost} {diagnosis.summary} {diagnosis.meaning}".rstrip(),
        diagnosis.remedy or "Run this again.",
        diagnosis=diagnosis.to_dict(),
        output=output,
    )


def merge(topology: Topology, pending: Pending, answer: Answer | None, key: str = "messages") -> Reading:
    """Put rows and messages together; ``answer`` is None when Redis was not asked."""
    engine = answer["engine"] if answer else None
    messages: t.Mapping[str, t.Any] = answer[key] if answer and engine else {}
    present = answer["present"] if answer and engine else {}
    found: dict[tuple[str, str], Left] = {}

    def of(database: str, name: str) -> Left:
        one = found.setdefault((database, name), Left(database, name, present=present.get(name)))
        if not engine:
            one.messages = None
            # Without its code nothing can run.
            one.present = None if engine is None else False
        return one

    for database, classes in pending.items():
        for name, count in classes.items():
            of(database, name).pending = count
    for connection, counted in messages.items():
        for name, places in counted["classes"].items():
            one = of(topology.find(connection).name, name)
            if one.messages is not None:
                one.messages = {place: one.messages[place] + places[place] for place in one.messages}
            one.last_error = _newest(one.last_error, places.get("error"))
    order = {database.name: number for number, database in enumerate(topology.databases)}
    return Reading(
        sorted(found.values(), key=lambda one: (order.get(one.database, len(order)), one.class_name)),
        {connection: counted["remaining"] for connection, counted in messages.items()} if engine else None,
        engine,
    )


def _newest(present: dict[str, t.Any] | None, error: Answer | None) -> dict[str, t.Any] | None:
    if error is None:
        return present
    moment = iso(datetime.fromtimestamp(error["at"], timezone.utc))
    mine = {"exception_class": error["error_class"], "exception_message": error["error_message"], "at": moment}
    return mine if present is None or (mine["at"] or "") > (present["at"] or "") else present


def total(left: t.Iterable[Left], name: str) -> int | None:
    """Return the sum of C(pending), C(remaining) or C(failed); None if one of them is not known."""
    counts = [getattr(one, name) for one in left]
    return None if None in counts else sum(counts)


def describe(reading: Reading, classes: t.Collection[str] | None) -> dict[str, t.Any]:
    """Return what each result says of what is left."""
    left = reading.chosen(classes)
    counted = reading.engine is True
    by_gitlab = sum(reading.remaining.values()) if reading.remaining is not None and classes is None else None
    return {
        "classes": [one.to_dict() for one in left],
        "totals": {
            "pending": total(left, "pending"),
            "remaining": (total(left, "remaining") if by_gitlab is None else by_gitlab) if counted else None,
            "failed": total(left, "failed") if counted else None,
        },
    }


def ignored_batched(instance: Instance) -> list[str]:
    """Say which batched migrations have failed and can be ignored, in the versions that have such."""
    if not has_ignorable(instance.version):
        return []
    return ignored(
        instance.version, [migration for session in instance.sessions() for migration in read_migrations(session)]
    )


def notes(version: GitLabVersion, engine: bool | None) -> list[str]:
    """Say what these numbers mean in this version."""
    said = []
    if version.minor > LAST_WITH_BACKGROUND_MIGRATIONS:
        said.append(
            f"From GitLab 15.1 on every background migration is batched (see bbm_status); what GitLab {version} has of the"
            " older kind was left over by an earlier version."
        )
    if engine is False:
        said.append("This version of GitLab has no code for them any more: only the tracked rows were read.")
    return said


def doubt(totals: t.Mapping[str, int | None]) -> list[str]:
    """Say so when GitLab's own count contradicts that nothing is left."""
    if not totals["remaining"]:
        return []
    return [f"GitLab itself counts {totals['remaining']} that remain, and they were not found by class; run this again"]


def reasons(
    version: GitLabVersion,
    left: t.Iterable[Left],
    with_failed: bool,
    again: t.Sequence[Answer],
    errors: t.Sequence[Answer] = (),
    ran: t.Collection[tuple[str, str]] = (),
) -> list[str]:
    """Say what keeps classes from being done, and what to do about each; nothing only if nothing is left.

    ``errors`` are those of a run, the first of each class counts; ``ran`` are the databases and classes that it worked on.
    """
    first: dict[tuple[str, str], Answer] = {}
    for error in errors:
        first.setdefault((error["database"], error["class_name"]), error)
    said = []
    for one in left:
        key = (one.database, one.class_name)
        what = _what(one, with_failed)
        if what:
            said.append(f"{one.label}: {', '.join(what)}; {_remedy(version, one, first.get(key), key in ran)}")
    return said + [
        f"a job of {one['class_name']} ({one['database']}) with the arguments {json.dumps(one['arguments'])} was taken from"
        " Sidekiq by a run that was killed; the next run with state: cleared begins with it"
        for one in again
    ]


def _what(one: Left, with_failed: bool) -> list[str]:
    counts = (
        (one.pending, "pending"),
        (one.remaining, "in Sidekiq's queue or schedule"),
        (one.messages and one.messages["running"], "that Sidekiq is working on"),
        (one.failed if with_failed else 0, "failed"),
    )
    return [f"{count} {word}" for count, word in counts if count]


def _remedy(version: GitLabVersion, one: Left, error: Answer | None, ran: bool) -> str:
    if error:
        first_line = error["error_message"].split("\n")[0]
        return (
            f"{error['error_class']}: {first_line} (with the arguments {json.dumps(error['arguments'])}). Mend the"
            " cause"
        )
    if one.messages and one.messages["running"] and not one.remaining:
        return "wait until Sidekiq has ended what it is working on"
    stuck, deadline = STUCK.get(one.class_name), DEADLINES.get(one.class_name)
    codeless = one.present is False and one.messages is None
    if stuck and one.pending and not one.remaining and not codeless:
        return (
            f"known: it {stuck.why} ({stuck.documentation}). Run background_migrations with state: cleared and"
            f" {stuck.remedy}"
        )
    if one.present is False:
        return (
            "this version of GitLab has no such class any more, so that nothing can run it. Roll back to a version that has"
            " it, or ask GitLab's support whether it may be left; messages can be removed in the Admin area (Monitoring,"
            " Background jobs)"
        )
    if ran and one.pending and not one.remaining:
        return "it ran without an error, and its rows stay pending. Search GitLab's issues for the name of the class"
    ahead = deadline if deadline and version.minor < deadline.before else None
    until = f" before GitLab {ahead.before[0]}.{ahead.before[1]}" if ahead else ""
    last = f" (last error: {one.last_error['exception_class']})" if one.last_error else ""
    return f"let Sidekiq work it off, or run background_migrations with state: cleared{until}{last}"
