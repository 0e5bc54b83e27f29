# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which columns a migration would make, read from its file, and whether a table that exists already has them.

The file is read, never run: a migration has side effects that no transaction takes back. What of its Ruby is not plainly
a C(create_table) of known columns is unknown, and unknown is not the same.
"""

from __future__ import annotations

import glob
import re
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import FOLDERS

SAME = "same"
DIFFERENT = "different"
UNKNOWN = "unknown"

# Rails' names for columns (ActiveRecord's PostgreSQL adapter, and GitLab's datetime_with_timezone), as format_type has them.
_TYPES = {
    "bigint": "bigint",
    "binary": "bytea",
    "boolean": "boolean",
    "date": "date",
    "datetime": "timestamp without time zone",
    "datetime_with_timezone": "timestamp with time zone",
    "float": "double precision",
    "inet": "inet",
    "integer": "integer",
    "json": "json",
    "jsonb": "jsonb",
    "smallint": "smallint",
    "string": "character varying",
    "text": "text",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "uuid": "uuid",
}
_INTEGERS = {"1": "smallint", "2": "smallint", "3": "integer", "4": "integer", "8": "bigint"}
# Known to make no column.
_NO_COLUMN = frozenset({"index", "foreign_key", "check_constraint", "text_limit"})
_TABLE_OPTIONS = frozenset({"id", "primary_key", "if_not_exists", "comment", "options"})

# Rails keeps for a migration the rules of the version that it was written for: https://guides.rubyonrails.org/upgrading_ruby_on_rails.html
_WRITTEN_FOR = re.compile(r"<\s*ActiveRecord::Migration(?:\[(\d+)\.(\d+)\])?")
_BIGINT_KEYS = (5, 1)
_TIMES_NOT_NULL = (5, 0)
_NEWEST = (99, 0)

_COMMENT = re.compile(r"#(?![{]).*$", re.MULTILINE)
_CREATE = re.compile(
    r"\bcreate_table\b *\(? *:(?P<name>\w+)(?P<options>[^\n|]*?)\)? *(?:do|\{) *\|(?P<variable>\w+)\|", re.MULTILINE
)
# Also its relatives, such as create_table_with_constraints.
_ANY_CREATE = re.compile(r"\bcreate_table\w*")
_DOWN = re.compile(r"^( *)def down\b.*?^\1end\b", re.MULTILINE | re.DOTALL)
_STATEMENT = re.compile(r"(?P<method>\w+)\b *\(?(?P<arguments>.*?)\)?\Z", re.DOTALL)
_SYMBOL = re.compile(r":(\w+)\Z")
_OPTION = re.compile(r"(\w+): *(.+)\Z", re.DOTALL)


class _UnknownError(Exception):
    """Ruby that this does not understand."""


@dataclass(frozen=True)
class Column:
    """A column that would be made. ``type`` is None where it cannot be told."""

    name: str
    type: str | None
    nullable: bool


@dataclass(frozen=True)
class Comparison:
    """How a table compares with what a migration would make.

    C(same): it has every column that the migration makes, with its type and nullability; it may have more.
    """

    result: str
    differences: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, t.Any]:
        """Return the JSON-safe form for results."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read_source(rails_root: str, version: str) -> str:
    """Return the text of the migration's file; nothing where it cannot be read, which is unknown then."""
    for folder in FOLDERS:
        for path in glob.glob(f"{glob.escape(rails_root)}/{folder}/**/{version}_*.rb", recursive=True):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    return file.read()
            except OSError:
                return ""
    return ""


def parse(text: str) -> dict[str, list[Column]]:
    """Return the tables that a migration file makes, as far as that is certain."""
    source = _forward(text)
    rules = _rules(source)
    tables: dict[str, list[Column]] = {}
    for match in _CREATE.finditer(source):
        try:
            body = _body(source[match.end() :], source[: match.end()])
            tables[match.group("name")] = [
                *_key(match.group("options"), rules),
                *(
                    column
                    for statement in _statements(body, match.group("variable"))
                    for column in _columns(statement, rules)
                ),
            ]
        except _UnknownError:
            tables.pop(match.group("name"), None)
    return tables


def says_all(text: str) -> bool:
    """Return whether the tables of :func:`parse` are all that a migration file makes."""
    return len(_ANY_CREATE.findall(_forward(text))) == len(parse(text))


def compare(text: str, table: str, existing: t.Sequence[t.Mapping[str, t.Any]] | None) -> Comparison:
    """Compare the columns of a table (as :mod:`_catalog` describes them) with what a migration's file would make.

    ``existing`` is None where there is no such table.
    """
    expected = parse(text).get(table)
    if existing is None:
        return Comparison(DIFFERENT, (f"the table {table} is not there",))
    if expected is None:
        return Comparison(UNKNOWN, (f"The migration's file does not say plainly which columns {table} gets.",))
    there = {column["name"]: column for column in existing}
    differences = []
    for column in expected:
        found = there.get(column.name)
        if found is None:
            differences.append(f"{column.name} is missing")
            continue
        type_there = re.sub(r"(timestamp)\(\d\)", r"\1", found["type"])
        if column.type is not None and type_there != column.type:
            differences.append(f"{column.name} is {found['type']}, and would be {column.type}")
        elif found["nullable"] != column.nullable:
            differences.append(
                f"{column.name} may {'' if found['nullable'] else 'not '}be null, and the other way round it would be"
            )
    extra = tuple(name for name in there if name not in {column.name for column in expected})
    return Comparison(DIFFERENT if differences else SAME, tuple(differences), extra)


def _forward(text: str) -> str:
    """Return the part of a file that runs on the way forward, without comments."""
    return _DOWN.sub("", _COMMENT.sub("", text))


def _body(rest: str, before: str) -> str:
    """Return what is between the beginning of a block and its end."""
    if before.rstrip().endswith("|") and re.search(r"\{ *\|\w+\|\Z", before.rstrip()):
        depth = 1
        for place, character in enumerate(rest):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                return rest[:place]
        raise _UnknownError
    end = re.search(r"^\s*end\b", rest, re.MULTILINE)
    if end is None or re.search(r"\b(?:do|if|unless|each|case|begin)\b", rest[: end.start()]):
        raise _UnknownError
    return rest[: end.start()]


def _statements(body: str, variable: str) -> t.Iterator[tuple[str, list[str]]]:
    """Yield method and arguments of each call on the table."""
    joined = re.sub(r",\s*\n\s*", ", ", body)
    for line in (part.strip() for whole in joined.splitlines() for part in _split(whole, ";")):
        if not line:
            continue
        match = _STATEMENT.match(line[len(variable) + 1 :]) if line.startswith(f"{variable}.") else None
        if match is None:
            raise _UnknownError
        yield match.group("method"), [part.strip() for part in _split(match.group("arguments"), ",") if part.strip()]


def _rules(source: str) -> tuple[int, int]:
    """Return the version of Rails whose rules hold; GitLab's own base class came after all that differs."""
    match = _WRITTEN_FOR.search(source)
    if match is None:
        return _NEWEST
    return (int(match.group(1)), int(match.group(2))) if match.group(1) else (4, 2)


def _columns(statement: tuple[str, list[str]], rules: tuple[int, int]) -> list[Column]:
    method, arguments = statement
    if method in _NO_COLUMN:
        return []
    names, options = _arguments(arguments)
    nullable = options.get("null", "true") != "false"
    if method in ("timestamps", "timestamps_with_timezone"):
        stamp = _TYPES["datetime_with_timezone" if method.endswith("timezone") else "datetime"]
        default = "false" if rules >= _TIMES_NOT_NULL else "true"
        return [Column(name, stamp, options.get("null", default) == "true") for name in ("created_at", "updated_at")]
    if method in ("references", "belongs_to"):
        if "polymorphic" in options:
            raise _UnknownError
        usual = ":bigint" if rules >= _BIGINT_KEYS else ":integer"
        kind = _TYPES.get(options.get("type", usual).lstrip(":"))
        return [Column(f"{name}_id", kind, nullable) for name in names]
    if method == "column":
        if len(names) != 2:
            raise _UnknownError
        names, method = names[:1], names[1]
    if method not in _TYPES or not names:
        raise _UnknownError
    return [Column(name, _type(method, options), nullable) for name in names]


def _type(method: str, options: t.Mapping[str, str]) -> str | None:
    kind: str | None = _TYPES[method]
    limit = options.get("limit")
    if limit is not None and method in ("integer", "bigint"):
        kind = _INTEGERS.get(limit)
    elif limit is not None and method == "string":
        kind = f"character varying({limit})" if limit.isdigit() else None
    return f"{kind}[]" if kind and options.get("array") == "true" else kind


def _arguments(arguments: t.Sequence[str]) -> tuple[list[str], dict[str, str]]:
    names: list[str] = []
    options: dict[str, str] = {}
    for argument in arguments:
        symbol, option = _SYMBOL.match(argument), _OPTION.match(argument)
        if symbol and not options:
            names.append(symbol.group(1))
        elif option:
            options[option.group(1)] = option.group(2).strip()
        else:
            raise _UnknownError
    return names, options


def _key(text: str, rules: tuple[int, int]) -> list[Column]:
    _names, options = _arguments([part.strip() for part in _split(text, ",") if part.strip()])
    if set(options) - _TABLE_OPTIONS or options.get("id", "false") not in ("false", ":bigint"):
        raise _UnknownError
    if options.get("id") == "false":
        return []
    name = options.get("primary_key", ":id")
    if not _SYMBOL.match(name):
        raise _UnknownError
    return [Column(name[1:], "bigint" if rules >= _BIGINT_KEYS or "id" in options else "integer", False)]


def _split(text: str, separator: str) -> list[str]:
    """Split where no bracket is open and no string begins."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        if character == separator and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts
