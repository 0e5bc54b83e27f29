# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import json
import re
import typing as t
from contextlib import contextmanager

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import Runner

Parameter = t.Union[str, int]

PART_MARK = "@@part "

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


class Part(t.NamedTuple):
    """One named question of a larger reading, asked only where the tables that it needs exist.

    ``sql`` is one SELECT of one jsonb value. Its parameters are written C(%(name)s).
    """

    name: str
    tables: tuple[str, ...]
    sql: str


class Session(t.Protocol):
    """One physical database."""

    name: str
    dbname: str

    def fetch(self, sql: str, **parameters: Parameter) -> list[dict[str, t.Any]]:
        """Run one SELECT, or one changing statement with RETURNING, and return its rows."""

    def read(self, parts: t.Sequence[Part], **parameters: Parameter) -> dict[str, t.Any]:
        """Answer all parts from one read-only snapshot; a part whose tables do not exist is absent."""

    def change(self, transactions: t.Iterable[t.Sequence[str]]) -> None:
        """Run statements, without parameters, in one transaction for each list; the first error ends it."""


def for_psql(sql: str) -> str:
    """Turn C(%(name)s) into psql's own quoted variable C(:'name')."""
    return _PLACEHOLDER.sub(r":'\1'", sql).replace("%%", "%")


def rows_as_json(sql: str) -> str:
    """Wrap a statement so that it answers with one line of JSON."""
    return f"WITH answer AS (\n{sql}\n)\nSELECT coalesce(jsonb_agg(to_jsonb(answer)), '[]'::jsonb) FROM answer"


def script(parts: t.Sequence[Part]) -> str:
    """Return the psql script that answers all parts in one process and one read-only snapshot."""
    lines = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"]
    for part in parts:
        condition = " AND ".join(f"to_regclass('{table}') IS NOT NULL" for table in part.tables) or "true"
        lines += [
            f"SELECT {condition} AS wanted \\gset",
            "\\if :wanted",
            f"\\echo {PART_MARK}{part.name}",
            f"{for_psql(part.sql)};",
            "\\endif",
        ]
    return "\n".join([*lines, "COMMIT;", ""])


def parse_script_output(text: str) -> dict[str, t.Any]:
    """Read what :func:`script` printed.

    :raises ValueError: an answer is not JSON.
    """
    answers: dict[str, t.Any] = {}
    name: str | None = None
    # Not splitlines: JSON may hold characters that it takes for the end of a line.
    for line in text.split("\n"):
        if line.startswith(PART_MARK):
            name = line[len(PART_MARK) :].strip()
        elif name is not None and line.strip():
            answers[name] = json.loads(line)
            name = None
    return answers


def connection_error(dbname: str, stderr: str, rc: int) -> GitLabError:
    """Say why psql did not answer, and what to do."""
    text = stderr.strip()
    if "does not exist" in text and rc == 2:
        return GitLabError(
            f"PostgreSQL has no database {dbname}: {text}",
            "Correct the option databases; a database on another server needs database_backend: psycopg2 with login_host.",
            database=dbname,
        )
    if rc == 2 or "could not connect" in text or "connection to server" in text:
        return GitLabError(
            f"The database {dbname} does not answer: {' '.join(text.split()).rstrip('?.')}.",
            "Start it (gitlab-ctl start postgresql), or, if it is not on this host, use database_backend: psycopg2 with login_host.",
            database=dbname,
        )
    if text.startswith("chpst:"):
        return GitLabError(
            f"This user may not become the database's user: {text}.", "Run as root (become: true).", database=dbname
        )
    if "could not load" in text:
        return GitLabError(
            "GitLab is not configured on this host, or this user may not read its configuration.",
            "Run as root (become: true); on a new node run gitlab-ctl reconfigure first.",
            database=dbname,
        )
    return refusal(dbname, text)


def refusal(dbname: str, text: str) -> GitLabError:
    """Say why PostgreSQL, which answers, did not answer this question, and what to do."""
    line = " ".join(text.split())
    if "lock timeout" in text:
        return GitLabError(
            f"The database {dbname} cannot be read, because another session locks a table: {line}.",
            "Let it end (pg_stat_activity shows who it is; docs/troubleshooting.md, lock_timeout), then run this again.",
            database=dbname,
        )
    if "statement timeout" in text:
        return GitLabError(
            f"The database {dbname} was too slow to answer: {line}.",
            "Run this again when it is less busy; pg_stat_activity shows what it works on.",
            database=dbname,
        )
    if "permission denied" in text:
        return GitLabError(
            f"The database {dbname} does not let this user read: {line}.",
            "With database_backend: psycopg2 set login_user to the owner of GitLab's tables, mostly gitlab.",
            database=dbname,
        )
    return GitLabError(
        f"The database {dbname} refused the query: {line}.",
        "Look for the reason in PostgreSQL's log (/var/log/gitlab/postgresql/current), and run this again.",
        database=dbname,
    )


class PsqlSession:
    """Asks through the C(psql) that GitLab brings: right socket, right user, nothing to install."""

    def __init__(self, runner: Runner, installation: Installation, name: str, dbname: str) -> None:
        self._runner = runner
        self._installation = installation
        self.name = name
        self.dbname = dbname

    def _run(self, sql: str, parameters: t.Mapping[str, Parameter]) -> str:
        argv = self._installation.psql(self.dbname)
        for key, value in parameters.items():
            argv += ["-v", f"{key}={value}"]
        result = self._runner.run(argv, stdin=sql, cwd=self._installation.working_directory)
        if result.rc != 0:
            # gitlab-psql prints its own errors on stdout.
            raise connection_error(self.dbname, result.stderr.strip() or result.stdout.strip(), result.rc)
        return result.stdout

    def fetch(self, sql: str, **parameters: Parameter) -> list[dict[str, t.Any]]:
        output = self._run(f"{for_psql(rows_as_json(sql))};\n", parameters)
        rows: list[dict[str, t.Any]] = json.loads(output)
        return rows

    def read(self, parts: t.Sequence[Part], **parameters: Parameter) -> dict[str, t.Any]:
        return parse_script_output(self._run(script(parts), parameters))

    def change(self, transactions: t.Iterable[t.Sequence[str]]) -> None:
        lines = [f"{line};\n" for statements in transactions for line in ("BEGIN", *statements, "COMMIT")]
        self._run("".join(lines), {})


class Psycopg2Session:
    """Asks over the network, for a database that is not on the host where the module runs."""

    def __init__(self, connection: t.Any, name: str, dbname: str) -> None:
        self._connection = connection
        self.name = name
        self.dbname = dbname

    def fetch(self, sql: str, **parameters: Parameter) -> list[dict[str, t.Any]]:
        with self._refusals(), self._connection, self._connection.cursor() as cursor:
            cursor.execute(rows_as_json(sql), parameters)
            rows: list[dict[str, t.Any]] = cursor.fetchone()[0]
        return rows

    def read(self, parts: t.Sequence[Part], **parameters: Parameter) -> dict[str, t.Any]:
        answers: dict[str, t.Any] = {}
        with self._refusals(), self._connection, self._connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for part in parts:
                cursor.execute(
                    "SELECT coalesce(bool_and(to_regclass(name) IS NOT NULL), true) FROM unnest(%s::text[]) AS name",
                    (list(part.tables),),
                )
                if cursor.fetchone()[0]:
                    cursor.execute(part.sql, parameters)
                    answers[part.name] = cursor.fetchone()[0]
        return answers

    def change(self, transactions: t.Iterable[t.Sequence[str]]) -> None:
        for statements in transactions:
            with self._refusals(), self._connection, self._connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

    @contextmanager
    def _refusals(self) -> t.Iterator[None]:
        # The connection carries psycopg2's exception classes, so that this file does not need the library.
        try:
            yield
        except self._connection.Error as error:
            raise refusal(self.dbname, str(error)) from error
