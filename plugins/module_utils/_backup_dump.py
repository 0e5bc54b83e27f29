# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads compressed files from end to end: a plain dump of pg_dump, and a tar archive. Nothing is held in memory."""

from __future__ import annotations

import re
import typing as t
import zlib
from dataclasses import dataclass

READ = 256 * 1024
CHUNK = 1024 * 1024

# Its rows are kept, not only counted.
SCHEMA_MIGRATIONS = "public.schema_migrations"

# What stands after the end mark: a comment's end, and \unrestrict with a key since PostgreSQL 13.22 and 17.6.
LONGEST_END = 400

_GZIP_WITH_HEADER = 31
_BLOCK = 512
_LINE = re.compile(
    rb"^(?:COPY (?P<table>[^\n]+?) (?:\((?P<columns>[^\n]*)\) )?FROM stdin;\n"
    rb"|-- Dumped from database version (?P<version>[^\n]+)\n"
    rb"|(?P<end>-- PostgreSQL database dump complete)\n)",
    re.MULTILINE,
)
_END_OF_ROWS = b"\n\\.\n"


class DamagedError(Exception):
    """A file that is not whole; the text says how that shows."""


@dataclass(frozen=True)
class Dump:
    """What was found in a dump that is whole."""

    server_version: str
    rows: t.Mapping[str, int]
    schema_migrations: tuple[str, ...]


def gunzip(file: t.IO[bytes], read: int = READ, size: int = CHUNK) -> t.Iterator[bytes]:
    """Yield the content of a gzip file of one or several members, in pieces of about ``size`` bytes.

    ``read`` bytes are read at a time.

    :raises DamagedError: it is empty, cut short, changed, or no gzip file. What was yielded before may be right.
    """
    decoder = None
    seen = False
    for data in iter(lambda: file.read(read), b""):
        while data:
            if decoder is None:
                if seen and not data.strip(b"\0"):
                    break
                decoder = zlib.decompressobj(_GZIP_WITH_HEADER)
            try:
                yield decoder.decompress(data, size)
            except zlib.error as error:
                where = "" if seen else ", or it is not compressed with gzip"
                raise DamagedError(f"it is damaged ({error}){where}") from error
            seen = True
            data = decoder.unconsumed_tail
            if decoder.eof:
                data, decoder = decoder.unused_data, None
    if not seen:
        raise DamagedError("it is empty")
    if decoder is not None:
        # The input is over, and what the decoder holds back comes out now.
        rest = decoder.flush()
        if not decoder.eof:
            raise DamagedError("it is cut short: the compressed data have no end")
        yield rest


def scan_dump(pieces: t.Iterable[bytes]) -> Dump:
    """Count the rows of each table in a plain dump.

    :raises DamagedError: it has no end, no table, or ends amid the rows of a table.
    """
    scanner = _Scanner()
    for piece in pieces:
        scanner.feed(piece)
    return scanner.close()


def scan_tar(pieces: t.Iterable[bytes]) -> int:
    """Return the size of a tar archive that is whole.

    :raises DamagedError: it holds nothing, or has no end (two blocks of zeros).
    """
    first, last, size = b"", b"", 0
    for piece in pieces:
        if len(first) < _BLOCK:
            first += piece[: _BLOCK - len(first)]
        last = (last + piece)[-2 * _BLOCK :] if len(piece) < 2 * _BLOCK else piece[-2 * _BLOCK :]
        size += len(piece)
    if not first.strip(b"\0"):
        raise DamagedError("the archive in it is empty")
    if size % _BLOCK or len(last) < 2 * _BLOCK or last.strip(b"\0"):
        raise DamagedError("it is cut short: the archive in it has no end")
    return size


class _Scanner:
    """Goes through a dump without splitting it into lines, which takes many times as long."""

    def __init__(self) -> None:
        self._buffer = b""
        # How much of the dump was before the buffer.
        self._before = 0
        # The first byte of the buffer that was not looked at; the one before it is kept.
        self._position = 0
        self._table: str | None = None
        self._rows: dict[str, int] = {}
        # The rows of schema_migrations, and which of their columns is the version. Newer GitLab has a second one.
        self._migrations: list[bytes] = []
        self._column = 0
        self._server_version = ""
        self._end: int | None = None

    def feed(self, piece: bytes) -> None:
        past = max(0, self._position - 1)
        self._buffer = self._buffer[past:] + piece
        self._before += past
        self._position -= past
        while self._take_rows(self._table) if self._table is not None else self._take_lines():
            pass

    def close(self) -> Dump:
        if self._table is not None:
            raise DamagedError(f"it is cut short amid the rows of {self._table}")
        size = self._before + len(self._buffer)
        if self._end is None or size - self._end > LONGEST_END:
            raise DamagedError('it is cut short: it does not end with "PostgreSQL database dump complete"')
        if not self._rows:
            raise DamagedError("it holds no table")
        rows = b"".join(self._migrations).decode("ascii", "replace").splitlines()
        versions = sorted(row.split("\t")[self._column] for row in rows)
        return Dump(self._server_version, self._rows, tuple(versions))

    def _take_rows(self, table: str) -> bool:
        """Take the rows of the table that are there; return whether it is over."""
        end = self._buffer.find(_END_OF_ROWS, self._position - 1)
        # A part of the end mark may be all that is there of it.
        stop = end + 1 if end >= 0 else max(self._position, len(self._buffer) - len(_END_OF_ROWS) + 1)
        self._rows[table] += self._buffer.count(b"\n", self._position, stop)
        if table == SCHEMA_MIGRATIONS:
            self._migrations.append(self._buffer[self._position : stop])
        self._position = stop
        if end < 0:
            return False
        self._position = end + len(_END_OF_ROWS)
        self._table = None
        return True

    def _take_lines(self) -> bool:
        """Take the whole lines that are there; return whether rows of a table follow."""
        for match in _LINE.finditer(self._buffer, self._position):
            if match.group("table"):
                self._table = match.group("table").decode("utf-8", "replace")
                self._rows.setdefault(self._table, 0)
                if self._table == SCHEMA_MIGRATIONS:
                    columns = (match.group("columns") or b"version").split(b", ")
                    self._column = columns.index(b"version") if b"version" in columns else 0
                self._position = match.end()
                return True
            if match.group("version"):
                self._server_version = match.group("version").decode("utf-8", "replace").split()[0]
            else:
                self._end = self._before + match.end()
        self._position = max(self._position, self._buffer.rfind(b"\n") + 1)
        return False
