# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Everything that GitLab made in a database: what it is, and how to drop it.

GitLab's own C(gitlab:db:drop_tables) leaves functions, types and further schemas of the newer version behind, which the
next upgrade stumbles over. What is here drops every object that belongs to GitLab's role, in every schema, whatever its
kind: the kinds come from PostgreSQL's own dependencies, not from a list. Extensions stay, and so does what belongs to
other roles, such as the function by which PgBouncer looks up passwords.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import same_version
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

# Kept until the last: its owner says which role is GitLab's, also to the run that goes on after an interruption.
ANCHOR = "public.schema_migrations"

# A drop locks the table and each of its indexes, and PostgreSQL has room for some thousand locks.
BATCH = 50
LOCK_TIMEOUT = "60s"

# Roles and databases are shared by the cluster; the bootstrap superuser (10) is pinned and has no row in pg_shdepend.
_READING = """
WITH gitlab AS (
  SELECT coalesce(
    (SELECT relowner FROM pg_class
     WHERE relname = 'schema_migrations' AND relkind = 'r' AND relnamespace = to_regnamespace('public')),
    (SELECT oid FROM pg_roles WHERE rolname = %(role)s),
    (SELECT datdba FROM pg_database WHERE datname = current_database())) AS role
), own_schema AS (
  SELECT namespace.* FROM pg_namespace namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend
    WHERE classid = 'pg_namespace'::regclass AND objid = namespace.oid AND deptype = 'e')
), object AS (
  SELECT DISTINCT ON (dependency.classid, dependency.objid)
    identified.type, identified.identity, own_schema.nspname AS schema,
    coalesce((SELECT refobjid FROM pg_shdepend owner
      WHERE owner.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND owner.classid = dependency.classid AND owner.objid = dependency.objid
      AND owner.objsubid = 0 AND owner.deptype = 'o'), 10) AS owner,
    coalesce(dependency.classid = 'pg_class'::regclass
      AND (SELECT relispartition FROM pg_class WHERE pg_class.oid = dependency.objid), false) AS partition
  FROM pg_depend dependency
  JOIN own_schema ON own_schema.oid = dependency.refobjid
  CROSS JOIN LATERAL pg_identify_object(dependency.classid, dependency.objid, 0) identified
  WHERE dependency.refclassid = 'pg_namespace'::regclass AND dependency.deptype = 'n'
  AND dependency.classid NOT IN ('pg_extension'::regclass, 'pg_default_acl'::regclass)
  AND NOT EXISTS (SELECT FROM pg_depend member
    WHERE member.classid = dependency.classid AND member.objid = dependency.objid AND member.objsubid = 0
    AND member.deptype IN ('e', 'i'))
)
SELECT jsonb_build_object(
  'role', (SELECT rolname FROM pg_roles JOIN gitlab ON role = oid),
  'objects', (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'type', type, 'identity', identity, 'schema', schema, 'partition', partition,
      'owner', pg_get_userbyid(owner), 'own', owner = (SELECT role FROM gitlab)) ORDER BY type, identity), '[]'::jsonb)
    FROM object),
  'schemas', (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', nspname, 'identity', quote_ident(nspname), 'own', nspowner = (SELECT role FROM gitlab),
      'extensions', (SELECT count(*) FROM pg_extension WHERE extnamespace = own_schema.oid)) ORDER BY nspname), '[]'::jsonb)
    FROM own_schema WHERE nspname <> 'public'),
  'extensions', (SELECT coalesce(jsonb_agg(extname ORDER BY extname), '[]'::jsonb) FROM pg_extension),
  'sessions', (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'pid', pid, 'application', application_name, 'address', client_addr) ORDER BY pid), '[]'::jsonb)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name ~* '(puma|sidekiq|unicorn)'))
"""

READING = Part("clean", (), _READING)

# What PostgreSQL calls a kind, where DROP has another word for it.
_WORDS = {"composite type": "TYPE", "statistics object": "STATISTICS"}
_TABLES = ("table", "foreign table")
_ORDER = {"view": 0, "materialized view": 0, "sequence": 3, "type": 5, "composite type": 5, "domain": 5}
_TABLE, _PARTITION, _OTHERS, _LAST = 2, 1, 4, 6
_KIND = re.compile(r"[a-z ]+\Z")


@dataclass(frozen=True)
class Item:
    """One object in a schema; ``kind`` and ``identity`` are in PostgreSQL's words, the latter quoted for SQL.

    ``own`` is whether it belongs to GitLab's role.
    """

    kind: str
    identity: str
    schema: str
    owner: str
    own: bool
    partition: bool

    def to_dict(self) -> dict[str, t.Any]:
        """Return the JSON-safe form for results."""
        return {"kind": self.kind, "name": self.identity, "owner": self.owner}


@dataclass(frozen=True)
class Schema:
    """One schema beside C(public); ``extensions`` is how many extensions have their objects in it."""

    name: str
    identity: str
    own: bool
    extensions: int


@dataclass(frozen=True)
class Connected:
    """One session of GitLab's services."""

    pid: int
    application: str
    address: str | None


@dataclass(frozen=True)
class Contents:
    """What is in one database, apart from what PostgreSQL and its extensions brought."""

    role: str
    items: tuple[Item, ...]
    schemas: tuple[Schema, ...]
    extensions: tuple[str, ...]
    sessions: tuple[Connected, ...]

    @property
    def own(self) -> list[Item]:
        """What belongs to GitLab."""
        return [item for item in self.items if item.own]

    @property
    def kept(self) -> list[Item]:
        """What belongs to others."""
        return [item for item in self.items if not item.own]

    @property
    def own_schemas(self) -> list[Schema]:
        """GitLab's schemas that nothing of others keeps from being dropped."""
        held = {item.schema for item in self.kept}
        return [schema for schema in self.schemas if schema.own and not schema.extensions and schema.name not in held]

    @property
    def empty(self) -> bool:
        """Whether nothing of GitLab's is left."""
        return not self.own and not self.own_schemas

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind are GitLab's, with the schemas."""
        result: dict[str, int] = {}
        for kind in [item.kind for item in self.own] + ["schema"] * len(self.own_schemas):
            result[kind] = result.get(kind, 0) + 1
        return dict(sorted(result.items()))


def parse(answer: t.Mapping[str, t.Any]) -> Contents:
    """Read the answer of :data:`READING`."""
    return Contents(
        role=answer["role"],
        items=tuple(
            Item(one["type"], one["identity"], one["schema"], one["owner"], one["own"], one["partition"])
            for one in answer["objects"]
        ),
        schemas=tuple(Schema(**one) for one in answer["schemas"]),
        extensions=tuple(answer["extensions"]),
        sessions=tuple(Connected(**one) for one in answer["sessions"]),
    )


def read(session: Session, role: str | None = None) -> Contents:
    """Return what is in a database.

    GitLab's role is the owner of C(schema_migrations); where that is not there, it is ``role``, which GitLab connects
    as, and where that is not known, the owner of the database.
    """
    return parse(session.read([READING], role=role or "")[READING.name])


def drop(item: Item) -> str:
    """Return the statement that drops one object, and what depends on it.

    :raises GitLabError: PostgreSQL has a word for its kind that makes no sense in a statement.
    """
    if not _KIND.match(item.kind):
        raise GitLabError(
            f"{item.identity} is a {item.kind!r}, which this cannot drop.", "Drop it by hand, then run this again."
        )
    return f"DROP {_WORDS.get(item.kind, item.kind.upper())} IF EXISTS {item.identity} CASCADE"


def plan(contents: Contents, batch: int = BATCH) -> list[list[str]]:
    """Return the statements that drop all that is GitLab's, as one list for each transaction.

    Partitions go before their parents, tables before the functions and types that they use, and the schemas last.
    """
    settings = [f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'", "SET LOCAL client_min_messages = warning"]
    drops = [drop(item) for item in sorted(contents.own, key=_rank)]
    drops += [f"DROP SCHEMA IF EXISTS {schema.identity}" for schema in contents.own_schemas]
    return [settings + drops[first : first + batch] for first in range(0, len(drops), batch)]


def refusals(name: str, contents: Contents) -> list[str]:
    """Return why this database must not be emptied now; nothing when it may."""
    if not contents.sessions:
        return []
    who = ", ".join(sorted({f"{one.application} from {one.address or 'this host'}" for one in contents.sessions}))
    return [f"{len(contents.sessions)} sessions of GitLab's services are connected to the database {name}: {who}."]


def not_restorable(manifest: Manifest, version: str, dbnames: t.Iterable[str]) -> list[str]:
    """Return why a backup would not bring back what is dropped in ``dbnames``; nothing when it would.

    ``version`` is that of the installed code, which alone restores the backup.
    """
    reasons = []
    if not same_version(manifest.gitlab.version, version):
        reasons.append(
            f"The backup {manifest.id} is of GitLab {manifest.gitlab.version}, and {version} is installed, which cannot restore it."
        )
    saved = {dump.dbname for dump in manifest.databases}
    unsaved = sorted(set(dbnames) - saved)
    if unsaved:
        reasons.append(
            f"The backup {manifest.id} has no dump of {', '.join(unsaved)}, whose data would be lost for good."
        )
    return reasons


def lost_extensions(before: Contents, after: Contents) -> list[str]:
    """Return the extensions that are gone."""
    return sorted(set(before.extensions) - set(after.extensions))


def taken_along(before: Contents, after: Contents) -> list[Item]:
    """Return what belonged to others and is gone, because it depended on what was dropped."""
    left = {(item.kind, item.identity) for item in after.kept}
    return [item for item in before.kept if (item.kind, item.identity) not in left]


def describe(contents: Contents) -> dict[str, t.Any]:
    """Return the JSON-safe form for results."""
    return {
        "role": contents.role,
        "objects": contents.counts(),
        "kept": [item.to_dict() for item in contents.kept],
        "extensions": list(contents.extensions),
        "sessions": [asdict(one) for one in contents.sessions],
    }


def _rank(item: Item) -> tuple[int, str]:
    if item.identity == ANCHOR:
        return _LAST, item.identity
    if item.kind in _TABLES:
        return _PARTITION if item.partition else _TABLE, item.identity
    return _ORDER.get(item.kind, _OTHERS), item.identity
