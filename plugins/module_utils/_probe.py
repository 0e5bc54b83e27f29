# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rolling_back, _sidekiq_waiting
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._database import (
    Part,
    connection_error,
    parse_script_output,
    script,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import parse_record
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import (
    Topology,
    build_topology,
    parse_database_yml,
    topology_from_option,
)

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

MARK = "@@probe "

_CHECK = "Check that GitLab is installed and configured on this host (gitlab-ctl reconfigure)."
_REMEDIES: t.Mapping[str, str] = {
    "Permission denied": "Run as root (become: true).",
    "No such file or directory": f"{_CHECK} On a node with PostgreSQL only, name the databases with the option databases.",
}

# Asks everything in one trip: the version, the databases' names, and each database one script that comes on stdin.
# It needs a POSIX shell, sed and awk. What is foreign (files, errors) is indented by "| ", so that only the probe
# itself can write a mark; what psql prints is JSON or a mark of its own. Of database.yml only the lines that say where
# the databases are leave the host, never a password. The versions of the migration files go to psql, not over the line.
SCRIPT = (
    _sidekiq_waiting.SCRIPT
    + r"""
version_file=$1 database_yml=$2 names=$3 rollback=$4 configuration=$5
shift 5
set -f
export LC_ALL=C PGCLIENTENCODING=UTF8 PGCONNECT_TIMEOUT=10 PGAPPNAME=gitlab_fleet.upgrade
cd /
sql=$(cat)
files=$(cd "${version_file%/VERSION}" 2>/dev/null && find db/migrate db/post_migrate -name '[0-9]*_*.rb' 2>/dev/null |
  sed -n 's:^.*/\([0-9]\{14\}\)_[^/]*$:\1:p' | tr '\n' ' ')
mark() { printf '@@probe %s\n' "$1"; }
indent() { printf '%s\n' "$1" | sed 's/^/| /'; }
mark begin
mark version
text=$(cat "$version_file" 2>&1)
rc=$?
indent "$text"
mark "end $rc"
# From 15.1 on every background migration is batched.
case $text in
13.* | 14.* | 15.0*)
  mark sidekiq
  text=$(sidekiq_waiting "$configuration")
  rc=$?
  indent "$text"
  mark "end $rc"
  ;;
esac
if [ -e "$rollback" ]; then
  mark rollback
  text=$(cat "$rollback" 2>&1)
  rc=$?
  indent "$text"
  mark "end $rc"
fi
if [ -n "$database_yml" ]; then
  mark config
  text=$(sed -n -e /password/d -e '/^[A-Za-z_][A-Za-z0-9_-]*: *$/p' -e '/^  [A-Za-z_][A-Za-z0-9_-]*: *$/p' \
    -e '/^ *database: /p' -e '/^ *host: /p' -e '/^ *port: /p' -e '/^ *database_tasks: /p' "$database_yml" 2>&1)
  rc=$?
  indent "$text"
  mark "end $rc"
  [ "$rc" = 0 ] && names=$(printf '%s\n' "$text" | awk '
    /^[^ ]/ { inside = ($1 == "production:"); skip = 0; next }
    inside && /^  [^ ]+: *$/ { skip = ($1 == "geo:" || $1 == "embedding:"); next }
    inside && !skip && $1 == "database:" { gsub(/["\047]/, "", $2); if (!seen[$2]++) print $2 }')
fi
for name in $names; do
  mark "database $name"
  { errors=$(printf '\\set migration_files '\''%s'\''\n%s\n' "$files" "$sql" | "$@" -d "$name" 2>&1 >&3); } 3>&1
  rc=$?
  mark errors
  indent "$errors"
  mark "end $rc"
done
mark done
"""
)


@dataclass
class _Section:
    """One thing that the probe read, and how the reading ended."""

    rc: int = -1
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


@dataclass(frozen=True)
class Answer:
    """What an instance answered: its version, its databases, and the parts of each by the database's name."""

    version: str
    topology: Topology
    parts: t.Mapping[str, t.Mapping[str, t.Any]]
    # The rollback that is under way.
    rolling_back: _rolling_back.Rollback | None
    # What waits in Sidekiq; None in versions where nothing can.
    sidekiq: _sidekiq_waiting.Waiting | None
    # The commands that asked.
    commands: list[list[str]]


def command(installation: Installation, databases: t.Mapping[str, str] | None) -> list[str]:
    """Return the argv list of the probe; on its stdin it wants :func:`question`.

    ``databases`` are those that the operator named; without, the instance's own configuration is read.
    """
    names = sorted({str(name) for name in databases.values()}) if databases else []
    for name in names:
        if not name or name.split() != [name]:
            raise GitLabError(f"{name!r} is no name of a database.", "Correct the option databases.")
    words = installation.psql("")
    place = words.index("-d")
    return [
        "/bin/sh",
        "-c",
        SCRIPT,
        "probe",
        installation.version_file,
        "" if names else installation.database_config,
        " ".join(names),
        _rolling_back.PATH,
        installation.database_config.rpartition("/")[0],
        *words[:place],
        *words[place + 2 :],
    ]


def question(parts: t.Sequence[Part]) -> str:
    """Return what the probe gives to psql."""
    return script(parts)


def started(output: str) -> bool:
    """Return whether the probe ran at all; if not, the host's shell or the way to root is none that it can use."""
    return f"{MARK}begin" in output.splitlines()


def read(output: str, installation: Installation, databases: t.Mapping[str, str] | None) -> Answer:
    """Read what the probe printed.

    :raises GitLabError: GitLab is not there or not configured, a database does not answer, or the output is cut off.
    """
    sections = _sections(output)
    version = _file(sections.get("version"), installation.version_file)
    if databases:
        topology = topology_from_option(databases)
    else:
        connections = parse_database_yml(_file(sections.get("config"), installation.database_config))
        topology = build_topology(connections)
    _refuse_ambiguous(topology)
    parts = {
        database.name: _parts(database.dbname, sections.get(f"database {database.dbname}"))
        for database in topology.databases
    }
    waiting = sections.get("sidekiq")
    return Answer(
        version,
        topology,
        parts,
        _rollback_target(sections.get("rollback")),
        _sidekiq_waiting.parse(waiting.lines, waiting.rc) if waiting else None,
        [installation.psql(database.dbname) for database in topology.databases],
    )


def _sections(output: str) -> dict[str, _Section]:
    sections: dict[str, _Section] = {}
    current: _Section | None = None
    errors = complete = False
    # Not splitlines: JSON may hold characters that it takes for the end of a line.
    for line in output.split("\n"):
        word, _blank, rest = line[len(MARK) :].rstrip("\r").partition(" ") if line.startswith(MARK) else ("", "", line)
        if word in ("version", "sidekiq", "rollback", "config", "database"):
            current, errors = sections.setdefault(f"{word} {rest}".strip(), _Section()), False
        elif word == "errors":
            errors = True
        elif word == "end" and current is not None:
            current.rc, current = int(rest) if rest.isdigit() else -1, None
        elif word == "done":
            complete = True
        elif not word and current is not None:
            (current.errors if errors else current.lines).append(rest[2:] if rest.startswith("| ") else rest)
    if not complete:
        raise GitLabError(
            "The answer of the host is cut off.", "The connection was lost, or the host ended the command. Try again."
        )
    return sections


def _file(section: _Section | None, path: str) -> str:
    if section is None or section.rc != 0:
        detail = section.text.rpartition(": ")[2] if section and section.text else "no answer"
        raise GitLabError(f"Cannot read {path}: {detail}.", _REMEDIES.get(detail, _CHECK), path=path)
    return section.text


def _rollback_target(section: _Section | None) -> _rolling_back.Rollback | None:
    if section is None:
        return None
    return _rolling_back.target(parse_record(_file(section, _rolling_back.PATH), _rolling_back.PATH))


def _parts(dbname: str, section: _Section | None) -> dict[str, t.Any]:
    if section is None:
        raise GitLabError(
            f"The database {dbname} was not asked: its name could not be read from database.yml on the host.",
            "Name the databases with the option databases, for example {main: gitlabhq_production}.",
            database=dbname,
        )
    if section.rc != 0:
        # gitlab-psql prints its own errors on stdout.
        raise connection_error(dbname, "\n".join(section.errors).strip() or section.text, section.rc)
    try:
        return parse_script_output("\n".join(section.lines))
    except ValueError as error:
        raise GitLabError(
            f"The database {dbname} answered something that is not JSON ({error}).",
            "Check that nothing prints on psql's stdout on this host, for example a .psqlrc or a shell profile.",
            database=dbname,
        ) from error


def _refuse_ambiguous(topology: Topology) -> None:
    names = [database.dbname for database in topology.databases]
    if len(set(names)) < len(names):
        raise GitLabError(
            "Two databases have the same name on different servers, and gitlab-psql reaches only one of them.",
            "Ask each with database_backend: psycopg2 and login_host.",
        )
