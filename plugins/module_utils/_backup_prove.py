# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Loads the dumps of a backup into a PostgreSQL of their own on the host, and counts what is there then."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_live import ROLES, TABLE_SIZES
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import (
    RESTORE,
    Check,
    DatabaseDump,
    Manifest,
    Proof,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_space import in_bytes
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import iso

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs

# Indexes are built too, and the write-ahead log takes its share.
ROOM = 2

# The folder of our own below the place that was named, and the file in it that says so. Nothing else is ever removed:
# the place itself may hold anything.
FOLDER = "gitlab_fleet_upgrade_scratch"
MARK = ".made_by_gitlab_fleet_upgrade"

# Its arguments: the archive, a folder of its own and the mark in it, PostgreSQL's programs, the user that runs it, the
# file for the result, the file with the statements (DATABASE below stands for the name of a database), and for each
# database its name and its place in the archive. Nothing of the instance's own PostgreSQL is touched: another folder,
# another socket, no port.
SCRIPT = r"""
set -u
archive=$1 scratch=$2 mark=$2/$3 programs=$4 owner=$5 result=$6 statements=$7
shift 7
cd /
as_owner() { runuser -u "$owner" -- "$@"; }
sql() { as_owner "$programs/psql" -X -q -h "$scratch/socket" -U "$owner" "$@"; }
ours() { [ -f "$mark" ] && [ ! -L "$scratch" ]; }
put_back() {
  ours || return 0
  [ ! -f "$scratch/data/postmaster.pid" ] || as_owner "$programs/pg_ctl" -D "$scratch/data" -m immediate stop >&2 || :
  # What takes long goes before the mark does, so that the next run goes on where this one is killed.
  rm -rf "$scratch/data"
  rm -rf "$scratch"
}
fail() { echo "prove: $1" >&2; exit 1; }
if [ -e "$scratch" ] || [ -L "$scratch" ]; then
  ours || fail "$scratch is there already, and no proof made it"
fi
put_back
trap put_back EXIT
trap 'exit 1' HUP INT TERM
set -e
mkdir -m 0700 "$scratch"
: >"$mark"
mkdir "$scratch/socket"
chown -R "$owner" "$scratch"
echo "prove  making a scratch PostgreSQL"
as_owner "$programs/initdb" -D "$scratch/data" -U "$owner" -A trust -E UTF8 --locale=C >/dev/null || fail initdb
as_owner "$programs/pg_ctl" -D "$scratch/data" -w -t 120 -l "$scratch/log" \
  -o "-c listen_addresses='' -c unix_socket_directories='$scratch/socket' -c fsync=off -c full_page_writes=off -c autovacuum=off" \
  start >/dev/null || { cat "$scratch/log" >&2; fail "the scratch PostgreSQL does not start"; }
sql -d postgres -v ON_ERROR_STOP=1 -f - <"$statements.roles"
: >"$result.new"
while [ $# -gt 0 ]; do
  echo "prove  loading $1"
  sql -d postgres -v ON_ERROR_STOP=1 -c "CREATE DATABASE \"$1\" TEMPLATE template0"
  tar -xOf "$archive" "$2" | gzip -dc | sql -d "$1" -f - 2>"$scratch/errors" >/dev/null
  grep 'ERROR:' "$scratch/errors" | grep -v -e 'does not exist$' -e 'must be owner of' | sed "s/^/error	$1	/" >>"$result.new" || :
  echo "prove  counting $1"
  sql -d "$1" -A -t -F '	' -f - <"$statements.$1" 2>&1 | sed "s/^/rows	$1	/" >>"$result.new"
  shift 2
done
mv "$result.new" "$result"
echo "prove  done"
"""

_COUNT = re.compile(r"^rows\t([^\t]+)\t([^\t]+)\t(\d+)$")
_ERROR = re.compile(r"^error\t([^\t]+)\t(.*)$")


@dataclass(frozen=True)
class Scratch:
    """In which folder the scratch PostgreSQL gets one of its own, by which programs, and as which user; ``node`` is this host's name."""

    path: str
    programs: str
    user: str
    node: str

    @property
    def folder(self) -> str:
        """The folder that is made, and removed."""
        return os.path.join(self.path, FOLDER)

    def refuse(self) -> None:
        """Refuse a place that is not there, or whose folder is not one that a proof made.

        :raises GitLabError: it is so.
        """
        if not os.path.isdir(self.path):
            raise GitLabError(
                f"The folder for the scratch PostgreSQL, {self.path}, is not there.",
                "Name one that is there with scratch_path; a folder of its own is made in it.",
            )
        ours = os.path.isfile(os.path.join(self.folder, MARK)) and not os.path.islink(self.folder)
        if os.path.lexists(self.folder) and not ours:
            raise GitLabError(
                f"{self.folder} is there already, and no proof by backup_prove made it.",
                "Look at what is in it, and move it away or remove it; or name another place with scratch_path.",
            )


def statements(tables: t.Iterable[str]) -> str:
    """Return the SQL that counts the rows of tables, which are named as in a dump."""
    return "".join(f"SELECT '{table.replace(chr(39), chr(39) * 2)}', count(*) FROM {table};\n" for table in tables)


def role_statements(names: t.Iterable[str], user: str) -> str:
    """Return the SQL that makes the roles that own what is in a dump."""
    return "".join('CREATE ROLE "{}" SUPERUSER;\n'.format(name.replace('"', '""')) for name in names if name != user)


def parse_result(text: str) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Return the counted rows by database and table, and what PostgreSQL complained about while it loaded."""
    counts: dict[str, dict[str, int]] = {}
    errors = []
    for line in text.splitlines():
        count, error = _COUNT.match(line), _ERROR.match(line)
        if count:
            counts.setdefault(count.group(1), {})[count.group(2)] = int(count.group(3))
        elif error:
            errors.append(f"{error.group(1)}: {error.group(2)}")
    return counts, errors


def compare(
    databases: t.Sequence[DatabaseDump], counts: t.Mapping[str, t.Mapping[str, int]], errors: t.Sequence[str]
) -> Check:
    """Return whether what was loaded is what the manifest says of the dumps."""
    wrong = list(errors[:3])
    for database in databases:
        found = counts.get(database.name, {})
        for table, rows in database.rows.items():
            if found.get(table) != rows:
                wrong.append(f"{database.name}: {table} has {found.get(table, 'no table')}, {rows} in the dump")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return Check(RESTORE, False, "; ".join(wrong[:5]) + more)
    total = {one.name: sum(one.rows.values()) for one in databases}
    return Check(
        RESTORE, True, "loaded and counted: " + ", ".join(f"{name} {rows} rows" for name, rows in total.items())
    )


class ProveJob(OneJob):
    """One proof by restore. After the last step C(result) has what came out."""

    name = "backup_prove"

    def __init__(
        self,
        instance: Instance,
        jobs: Jobs,
        store: Store,
        memory: dict[str, t.Any],
        manifest: Manifest,
        scratch: Scratch,
        check_mode: bool,
    ) -> None:
        self._instance = instance
        self._store = store
        self._manifest = manifest
        self._scratch = scratch
        self._file = store.file(manifest.id, "restored")
        self._statements = store.file(manifest.id, "count.sql")
        pairs = [word for one in manifest.databases for word in (one.name, one.dump)]
        argv = [
            *("/bin/sh", "-c", SCRIPT, "prove", manifest.archive.path),
            *(scratch.folder, MARK, scratch.programs, scratch.user, self._file, self._statements, *pairs),
        ]
        super().__init__(jobs, memory, argv, None, check_mode)
        self.result: dict[str, t.Any] = {}

    def counts(self, job: Job) -> bool:
        return job.rc == 0 and job.argv == tuple(self._argv)

    def prepare(self) -> tuple[bool, t.Any]:
        if self._manifest.proved_by_restore:
            return False, None
        if not self._manifest.databases:
            raise GitLabError(f"The backup {self._manifest.id} has no dump to load.", "Leave this task out.")
        if not os.path.exists(f"{self._scratch.programs}/initdb"):
            raise GitLabError(
                f"PostgreSQL's initdb is not in {self._scratch.programs}.",
                "Name the folder with programs, or run this on a node that has PostgreSQL.",
            )
        self._scratch.refuse()
        self._look_at_space()
        if not self._check_mode:
            self._write_statements()
        return True, None

    def conclude(self, job: Job | None, note: t.Any) -> None:
        manifest = self._manifest
        proved = job is None and manifest.proved_by_restore is not None
        if not (self._check_mode or proved):
            manifest = self._judge(job)
        self.result = {
            "changed": not proved,
            "id": manifest.id,
            "proof": manifest.to_dict()["proved_by_restore"],
            "manifest": manifest.to_dict(),
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "notes": self.notes,
            "commands": [],
        }
        if not self._check_mode and manifest.proved_by_restore is None:
            detail = next(one.detail for one in manifest.checks if one.name == RESTORE)
            raise GitLabError(
                f"The backup {manifest.id} was loaded, and is not what it should be: {detail}.",
                "Make a new backup; no role accepts this one any more.",
                **self.result,
            )

    def _judge(self, job: Job | None) -> Manifest:
        if job is not None and job.rc != 0:
            words = " ".join(tail(job.errors, 2000).split()) or "its process disappeared (killed, or a restart)"
            raise GitLabError(
                f"The backup {self._manifest.id} could not be loaded into a scratch PostgreSQL: {words}",
                f"That says nothing against the backup. The whole output: {job.log}, {job.errors}.",
                log=job.log,
            )
        try:
            with open(self._file, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError as error:
            raise GitLabError(f"The result of the proof is not there: {error.strerror}.", "Run this again.") from error
        verdict = compare(self._manifest.databases, *parse_result(text))
        checks = tuple(one for one in self._manifest.checks if one.name != RESTORE)
        databases = {
            one.name: {
                "tables": len(one.rows),
                "rows": sum(one.rows.values()),
                "schema_migrations": one.schema_migrations,
            }
            for one in self._manifest.databases
        }
        proof = Proof(iso(datetime.now(timezone.utc)) or "", self._scratch.node, databases)
        manifest = replace(
            self._manifest,
            checks=(*checks, verdict),
            verified=verdict.passed,
            proved_by_restore=proof if verdict.passed else None,
        )
        self._store.write(manifest)
        return manifest

    def _look_at_space(self) -> None:
        needed = ROOM * sum(one.read([TABLE_SIZES])[TABLE_SIZES.name] for one in self._instance.sessions())
        status = os.statvfs(self._scratch.path)
        free = status.f_bavail * status.f_frsize
        if free < needed:
            raise GitLabError(
                f"There is not enough room to load the dumps in {self._scratch.path}:"
                f" {in_bytes(needed)} needed (twice the tables of today), {in_bytes(free)} free.",
                "Name a larger place with scratch_path.",
            )

    def _write_statements(self) -> None:
        roles = {name for session in self._instance.sessions() for name in session.read([ROLES])[ROLES.name]}
        self._store.write_text(self._manifest.id, "count.sql.roles", role_statements(sorted(roles), self._scratch.user))
        for one in self._manifest.databases:
            self._store.write_text(self._manifest.id, f"count.sql.{one.name}", statements(one.rows))
