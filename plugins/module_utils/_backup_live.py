# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a backup is compared with: the databases as they are now."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_checks import KEY_TABLES, Live
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_dump import SCHEMA_MIGRATIONS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Part

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import Session

# Without the indexes, which a dump does not hold.
TABLE_SIZES = Part(
    "table_sizes",
    (),
    "SELECT to_jsonb(coalesce(sum(pg_table_size(c.oid)), 0)::bigint) FROM pg_class AS c WHERE c.relkind IN ('r', 'm')",
)

# Partitions come and go each day, and a table of an extension is not dumped.
TABLES = Part(
    "tables",
    (),
    """
SELECT coalesce(jsonb_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)), '[]'::jsonb)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relpersistence = 'p'
  AND (n.nspname = 'public' OR n.nspname LIKE 'gitlab_partitions%%')
  AND NOT EXISTS (
    SELECT 1 FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
""",
)
VERSIONS = Part(
    "versions",
    (SCHEMA_MIGRATIONS,),
    f"SELECT coalesce(jsonb_agg(s.version), '[]'::jsonb) FROM {SCHEMA_MIGRATIONS} AS s",
)
COUNTS = tuple(Part(table, (table,), f"SELECT to_jsonb(count(*)) FROM {table}") for table in KEY_TABLES)
# Those that may own what is in a dump.
ROLES = Part(
    "roles",
    (),
    "SELECT coalesce(jsonb_agg(r.rolname), '[]'::jsonb) FROM pg_roles AS r WHERE r.rolname NOT LIKE 'pg\\_%%'",
)
# A project without a commit has a repository with nothing in it, which is left out.
FILLED_REPOSITORIES = Part(
    "filled_repositories",
    ("public.project_statistics",),
    "SELECT to_jsonb(count(*)) FROM public.project_statistics AS s WHERE s.commit_count > 0",
)
SERVER_VERSION = Part("server_version", (), "SELECT to_jsonb(current_setting('server_version'))")


def server_version(session: Session) -> str:
    """Return the version of the server, such as C(12.6).

    :raises GitLabError: it does not answer.
    """
    version: str = session.read([SERVER_VERSION])[SERVER_VERSION.name]
    return version.split()[0]


def filled_repository(session: Session, folder: str) -> str | None:
    """Tell of a repository that has something in it: below ``folder`` on this host, or by GitLab's own statistics.

    :raises GitLabError: the database does not answer.
    """
    for path, folders, _files in os.walk(folder):
        if path.endswith(".git"):
            folders.clear()
            if any(files for _path, _folders, files in os.walk(os.path.join(path, "objects"))):
                return f"{path} has something in it"
    count = session.read([FILLED_REPOSITORIES]).get(FILLED_REPOSITORIES.name, 0)
    return f"{count} projects have commits" if count else None


def read_live(session: Session) -> Live:
    """Read one database.

    :raises GitLabError: it does not answer.
    """
    answers: dict[str, t.Any] = session.read([TABLES, VERSIONS, *COUNTS])
    return Live(
        tables=answers[TABLES.name],
        rows={part.name: answers[part.name] for part in COUNTS if part.name in answers},
        schema_migrations=answers.get(VERSIONS.name, []),
    )
