# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which schema migrations are up: from the rows and the migration files, or from C(rake db:migrate:status).

Both readings give the same entries, because the rows are read with the rules of Rails (ActiveRecord's
MigrationContext and SchemaMigration, ActiveSupport's humanize).
"""

from __future__ import annotations

import glob
import os.path
import re
import typing as t
from collections import Counter
from dataclasses import asdict, dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Database, Topology

UP = "up"
DOWN = "down"
NO_FILE = "no_file"
STATES = (UP, DOWN, NO_FILE)

REGULAR = "regular"
POST_DEPLOYMENT = "post_deployment"
FOLDERS = {"db/migrate": REGULAR, "db/post_migrate": POST_DEPLOYMENT}

NO_FILE_NAME = "********** NO FILE **********"
STATUS_TASK = "db:migrate:status"
MARK_TASK = "gitlab:db:mark_migration_complete"

VERSIONS = Part(
    "versions",
    ("schema_migrations",),
    "SELECT coalesce(jsonb_agg(version ORDER BY version), '[]'::jsonb) FROM schema_migrations",
)

_FILE_NAME = re.compile(r"(?P<version>[0-9]+)_(?P<name>[_a-z0-9]*)\.?(?P<scope>[_a-z0-9]*)\.rb\Z")
_ACRONYM = re.compile(r"^[ \t]*inflect\.acronym[ (]*['\"](\w+)['\"]", re.MULTILINE)
_WORD = re.compile(r"[a-z0-9]+", re.IGNORECASE)
_INTEGER = re.compile(r"\s*([+-]?)([0-9]+(?:_[0-9]+)*)")
_PLAIN_VERSION = re.compile(r"[0-9]{14}\Z")

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DATABASE_LINE = re.compile(r"database: (?P<dbname>\S.*?)\s*\Z")
_STATUS_LINE = re.compile(r"\s*(?P<status>up|down)\s+(?P<version>-?[0-9]{3,})(?:\s+(?P<name>\S.*?))?\s*\Z")


class MigrationFile(t.NamedTuple):
    """One migration that the installed version brings. ``version`` is as Rails prints it."""

    version: str
    name: str
    kind: str


@dataclass(frozen=True)
class Migration:
    """One schema migration of one database; ``kind`` is None where no file tells."""

    database: str
    version: str
    name: str
    state: str
    kind: str | None

    def to_dict(self) -> dict[str, t.Any]:
        """Return the JSON-safe form for results."""
        return asdict(self)


def normalize_version(text: str) -> str:
    """Return a version as Rails reads it: Ruby's C(to_i), printed with at least three digits."""
    match = _INTEGER.match(text)
    number = int(match.group(1) + match.group(2).replace("_", "")) if match else 0
    return f"-{-number:03d}" if number < 0 else f"{number:03d}"


def malformed_versions(rows: t.Iterable[str]) -> list[str]:
    """Return the rows that no migration of GitLab's can have written; somebody marked them by mistake."""
    return [row for row in rows if not _PLAIN_VERSION.match(row)]


def humanize(name: str, acronyms: t.Mapping[str, str]) -> str:
    """Return C(create_lfs_objects) as Rails shows it: C(Create lfs objects)."""
    text = name.lstrip("_")
    if text.endswith("_id"):
        text = text[: -len("_id")]
    text = _WORD.sub(lambda word: acronyms.get(word.group().lower(), word.group().lower()), text.replace("_", " "))
    return text[:1].upper() + text[1:]


def parse_acronyms(text: str) -> dict[str, str]:
    """Return the words that GitLab's inflections file keeps in capitals, by their small letters."""
    return {word.lower(): word for word in _ACRONYM.findall(text)}


def parse_file_name(file_name: str, kind: str, acronyms: t.Mapping[str, str]) -> MigrationFile:
    """Read the name of a migration file, such as C(20151103134857_create_lfs_objects.rb).

    :raises GitLabError: Rails would refuse the name, and with it every migration task.
    """
    match = _FILE_NAME.match(file_name)
    if not match:
        raise GitLabError(
            f"{file_name} among the migration files has a name that Rails refuses; no migration task works with it.",
            "GitLab does not bring such a file. Find out who put it there and move it away.",
        )
    name = humanize(match.group("name") + match.group("scope"), acronyms)
    return MigrationFile(normalize_version(match.group("version")), name, kind)


def migration_files(rails_root: str) -> list[MigrationFile]:
    """Return the migrations of the installed version: regular and post-deployment ones, for every database.

    Geo's tracking database has folders of its own, which are left out.

    :raises GitLabError: there are none, so that nothing can be said about any version.
    """
    acronyms: dict[str, str] = {}
    for path in glob.glob(f"{glob.escape(rails_root)}/config/initializers*/*inflections.rb"):
        with open(path, encoding="utf-8") as file:
            acronyms.update(parse_acronyms(file.read()))
    files = [
        parse_file_name(os.path.basename(path), kind, acronyms)
        for folder, kind in FOLDERS.items()
        for path in glob.glob(f"{glob.escape(rails_root)}/{folder}/**/[0-9]*_*.rb", recursive=True)
    ]
    if not files:
        raise GitLabError(
            f"There is no migration file in {rails_root}/db/migrate.",
            "Run the module on a node that has GitLab's Rails application, or give its folder with rails_root.",
            path=rails_root,
        )
    return files


def merge(database: str, rows: t.Iterable[str], files: t.Iterable[MigrationFile]) -> list[Migration]:
    """Return every migration of a database from the rows of C(schema_migrations) and the files, sorted by version."""
    applied = [normalize_version(row) for row in rows]
    up = set(applied)
    migrations = [
        Migration(database, file.version, file.name, UP if file.version in up else DOWN, file.kind) for file in files
    ]
    known = {migration.version for migration in migrations}
    migrations += [
        Migration(database, version, NO_FILE_NAME, NO_FILE, None) for version in applied if version not in known
    ]
    return sorted(migrations, key=lambda migration: migration.version)


def read_versions(session: Session) -> list[str]:
    """Return the rows of C(schema_migrations).

    :raises GitLabError: the table does not exist.
    """
    answer = session.read([VERSIONS])
    if VERSIONS.name not in answer:
        raise GitLabError(
            f"The database {session.dbname} has no table schema_migrations: it is empty, or not a GitLab database.",
            "Check the option databases. If a restore or an installation broke off, run it again; "
            "gitlab-rake gitlab:db:configure loads the schema into an empty database.",
            dbname=session.dbname,
        )
    versions: list[str] = answer[VERSIONS.name]
    return versions


def read_migrations(sessions: t.Iterable[Session], files: t.Sequence[MigrationFile]) -> list[Migration]:
    """Return every migration of every database, as the rows say."""
    return [migration for session in sessions for migration in merge(session.name, read_versions(session), files)]


def parse_status(text: str, databases: t.Sequence[Database], files: t.Sequence[MigrationFile]) -> list[Migration]:
    """Read what C(rake db:migrate:status) printed for ``databases``; lines that are no status are noise.

    :raises GitLabError: a database is missing, or the list does not cover the files.
    """
    kinds = {file.version: file.kind for file in files}
    waiting = list(databases)
    migrations: list[Migration] = []
    name: str | None = None
    for line in _COLOUR.sub("", text).splitlines():
        header = _DATABASE_LINE.match(line)
        if header:
            name = _take(waiting, header.group("dbname"))
            continue
        row = _STATUS_LINE.match(line)
        if name is None or not row:
            continue
        version, title = row.group("version"), row.group("name") or ""
        without_file = title == NO_FILE_NAME
        state = NO_FILE if without_file else row.group("status")
        migrations.append(Migration(name, version, title, state, None if without_file else kinds.get(version)))
    if waiting:
        raise GitLabError(
            f"{STATUS_TASK} said nothing about {', '.join(database.dbname for database in waiting)}.",
            "Use source: sql, which asks each database itself.",
        )
    _check_cover(migrations, databases, files)
    return migrations


def count_states(migrations: t.Iterable[Migration]) -> dict[str, int]:
    """Return how many migrations are in each state."""
    counts = Counter(migration.state for migration in migrations)
    return {state: counts[state] for state in STATES}


def parse_version(text: str) -> str:
    """Return a version that an operator gave, which must be exactly the 14 digits of a migration's file name.

    GitLab's own task takes what Ruby's C(to_i) makes of the text: C(-5) and C(123abc) become rows.

    :raises GitLabError: it is anything else.
    """
    if not _PLAIN_VERSION.match(text):
        raise GitLabError(
            f"{text!r} is not the version of a migration.",
            "Give the 14 digits at the beginning of the migration's file name, such as 20151103134857.",
        )
    return text


def find_file(files: t.Iterable[MigrationFile], version: str) -> MigrationFile:
    """Return the file that has ``version``.

    :raises GitLabError: none has it, so that a row with it would be a row without a file.
    """
    for file in files:
        if file.version == version:
            return file
    raise GitLabError(
        f"The installed GitLab has no migration {version}. GitLab's own task would mark it all the same.",
        "Compare the number with the failing output and with gitlab_fleet.upgrade.db_migrate_status.",
        version=version,
    )


def mark_tasks(topology: Topology, names: t.Sequence[str]) -> list[str]:
    """Return the tasks that mark a version in the databases ``names`` and in no other.

    The plain task marks over every connection. Tasks of one database exist only where several have tasks.

    :raises GitLabError: this instance has no task for one of its databases alone.
    """
    if set(names) == {database.name for database in topology.databases}:
        return [MARK_TASK]
    if len(topology.with_tasks) < 2:
        raise GitLabError(
            f"GitLab has no task that marks a version in {', '.join(names)} alone on this instance.",
            "Compare the databases with db_migrate_status; if the version is to be marked in all, leave out database.",
        )
    return [MARK_TASK + topology.task_suffix(name) for name in names]


def _take(waiting: list[Database], dbname: str) -> str:
    for database in waiting:
        if database.dbname == dbname:
            waiting.remove(database)
            return database.name
    raise GitLabError(
        f"{STATUS_TASK} tells of the database {dbname}, which is not among those that were asked for.",
        "Check the option databases, or leave it out.",
    )


def _check_cover(
    migrations: t.Iterable[Migration], databases: t.Iterable[Database], files: t.Iterable[MigrationFile]
) -> None:
    """Refuse a list that leaves out migrations that the installed version has, as with post-deployment ones skipped."""
    versions = {file.version for file in files}
    listed: dict[str, set[str]] = {database.name: set() for database in databases}
    for migration in migrations:
        if migration.state != NO_FILE:
            listed[migration.database].add(migration.version)
    missing = set().union(*(versions - found for found in listed.values()))
    if missing:
        raise GitLabError(
            f"{STATUS_TASK} left out {len(missing)} migrations that the installed version has, such as {min(missing)}.",
            "SKIP_POST_DEPLOYMENT_MIGRATIONS is probably set in its environment (gitlab_rails['env'] in gitlab.rb); "
            "take it away, or use source: sql.",
            versions=sorted(missing),
        )
