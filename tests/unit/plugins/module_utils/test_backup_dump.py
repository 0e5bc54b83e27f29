# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_dump import (
    LONGEST_END,
    DamagedError,
    Dump,
    gunzip,
    scan_dump,
    scan_tar,
)

HEAD = b"""\
--
-- PostgreSQL database dump
--

-- Dumped from database version 12.6 (Debian 12.6-1)
-- Dumped by pg_dump version 12.6

SET statement_timeout = 0;
CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- PostgreSQL database dump complete? Not yet.
  RETURN NEW;
END
$$;
"""
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"
VERSIONS = ["20200101000000", "20210611100359"]


def copy_block(table: str, rows: list[str]) -> bytes:
    """Return the rows of a table as pg_dump writes them."""
    return "\n".join([f"COPY {table} (id, name) FROM stdin;", *rows, "\\.", "", "", ""]).encode()


MIGRATIONS = copy_block("public.schema_migrations", VERSIONS)


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[place : place + size] for place in range(0, len(content), size)]


WHOLE = HEAD + copy_block("public.projects", ["1\ta", "2\tb\\nc"]) + copy_block("public.empty", []) + MIGRATIONS + END
FOUND = Dump(
    "12.6",
    {"public.projects": 2, "public.empty": 0, "public.schema_migrations": 2},
    ("20200101000000", "20210611100359"),
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 100, 4096])
def test_a_dump_is_counted_however_it_is_cut_into_pieces(size: int) -> None:
    assert scan_dump(pieces(WHOLE, size)) == FOUND


@pytest.mark.parametrize(
    ("columns", "row"), [("version, finished_at", "{}\t2026-11-20 11:21:15+00"), ("finished_at, version", "\\N\t{}")]
)
def test_newer_versions_of_gitlab_write_down_when_a_migration_was_done(columns: str, row: str) -> None:
    rows = [row.format(version) for version in VERSIONS]
    block = copy_block("public.schema_migrations", rows).replace(b"(id, name)", f"({columns})".encode())

    assert scan_dump([HEAD, block, END]).schema_migrations == tuple(VERSIONS)


def test_what_newer_versions_of_pg_dump_write_behind_the_end_is_no_harm() -> None:
    assert scan_dump([WHOLE + b"\\unrestrict " + b"a" * 63 + b"\n\n"]) == FOUND


@given(st.integers(0, len(WHOLE) - 6), st.integers(1, 500))
def test_a_dump_cut_anywhere_is_never_taken_for_whole(length: int, size: int) -> None:
    # The last line of the end mark alone may be missing.
    with pytest.raises(DamagedError):
        scan_dump(pieces(WHOLE[:length], size))


ROW = st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"]), max_size=20).map(
    lambda text: text.replace("\\", "\\\\")
)


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.lists(ROW, max_size=6)), max_size=5), st.data()
)
def test_rows_are_counted_whatever_is_in_them(tables: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    named = {f"public.{name}{place}": rows for place, (name, rows) in enumerate(tables)}
    text = HEAD + b"".join(copy_block(name, rows) for name, rows in named.items()) + MIGRATIONS + END

    found = scan_dump(pieces(text, data.draw(st.integers(1, 200))))

    assert found.rows == {**{name: len(rows) for name, rows in named.items()}, "public.schema_migrations": 2}
    assert found.schema_migrations == tuple(VERSIONS)


def test_an_end_mark_amid_the_rows_is_a_row() -> None:
    rows = copy_block("public.notes", ["-- PostgreSQL database dump complete", "COPY public.x (a) FROM stdin;"])

    assert scan_dump([HEAD, rows, MIGRATIONS, END]).rows == {"public.notes": 2, "public.schema_migrations": 2}
    with pytest.raises(DamagedError, match="does not end"):
        scan_dump([HEAD, rows, MIGRATIONS])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "does not end"),
        (HEAD + MIGRATIONS, "does not end"),
        (HEAD + b"COPY public.projects (id) FROM stdin;\n1\n2\n", "amid the rows of public.projects"),
        (HEAD + END, "no table"),
        (WHOLE + b"-" * LONGEST_END, "does not end"),
    ],
)
def test_a_dump_that_is_not_whole(text: bytes, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        scan_dump([text])


def unzip(content: bytes, read: int = 1000, size: int = 1000) -> bytes:
    return b"".join(gunzip(io.BytesIO(content), read, size))


@given(st.binary(max_size=3000), st.integers(1, 4000), st.integers(1, 4000))
def test_gzip_is_read_in_pieces_of_any_size(content: bytes, read: int, size: int) -> None:
    zipped = gzip.compress(content)

    assert unzip(zipped, read, size) == content
    assert unzip(zipped + zipped, read, size) == content * 2
    assert unzip(zipped + bytes(512), read, size) == content


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_gzip_cut_anywhere_is_damaged(content: bytes, data: st.DataObject) -> None:
    zipped = gzip.compress(content)
    with pytest.raises(DamagedError):
        unzip(zipped[: data.draw(st.integers(0, len(zipped) - 1))], data.draw(st.integers(1, 4000)))


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_with_one_changed_byte_no_other_content_comes_out(content: bytes, data: st.DataObject) -> None:
    zipped = bytearray(gzip.compress(content))
    # The ten bytes of the header hold a time and the like, which nobody checks.
    place = data.draw(st.integers(10, len(zipped) - 1))
    zipped[place] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(zipped)) in (content, None)


def outcome(zipped: bytes) -> bytes | None:
    try:
        return unzip(zipped)
    except DamagedError:
        return None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"SELECT 1;", "not compressed with gzip"),
        (gzip.compress(b"a", mtime=0) + b"garbage", "damaged"),
    ],
)
def test_what_is_no_gzip_file(content: bytes, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        unzip(content)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("size", [1, 100, 512, 5000, 100_000])
def test_a_whole_tar_archive(size: int) -> None:
    content = tar_of({"./a": b"x" * 700, "./b": b""})
    assert scan_tar(pieces(content, size)) == len(content)


def test_a_tar_archive_that_was_cut_short_or_holds_nothing() -> None:
    content = tar_of({"./a": b"x" * 20_000})
    for length in (1, 512, 513, 10_240, 20_480 + 1):
        with pytest.raises(DamagedError):
            scan_tar([content[:length]])
    with pytest.raises(DamagedError, match="is empty"):
        scan_tar([bytes(10_240)])
    with pytest.raises(DamagedError, match="is empty"):
        scan_tar([])
