# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pathlib
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    Contents,
    dump_path,
    read_archive,
    read_configuration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

DUMP = b"""\
-- Dumped from database version 12.6
COPY public.projects (id) FROM stdin;
1
2
\\.

COPY public.schema_migrations (version) FROM stdin;
20210611100359
\\.

--
-- PostgreSQL database dump complete
--

"""


def tar_of(files: dict[str, bytes | None]) -> bytes:
    """Return a tar archive; None makes a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    """Return the same bytes each time: they are in the names of the tests."""
    return gzip.compress(content, mtime=0)


PART = zipped(tar_of({"./a": b"content"}))
FILES: dict[str, bytes | None] = {
    "backup_information.yml": b":gitlab_version: 14.0.12-ee\n",
    "db": None,
    "db/database.sql.gz": zipped(DUMP),
    "repositories": None,
    "repositories/@hashed": None,
    "repositories/@hashed/a.bundle": b"bundle",
    "repositories/@hashed/b.bundle": b"",
    "uploads.tar.gz": PART,
}


def written(path: pathlib.Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_whole_archive(tmp_path: pathlib.Path, prefix: str) -> None:
    content = tar_of({f"{prefix}{name}": text for name, text in FILES.items()})

    found = read_archive(written(tmp_path / "x.tar", content))

    assert found.problems == {}
    assert (found.archive.size, found.archive.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.information == ":gitlab_version: 14.0.12-ee\n"
    assert found.parts["repositories"] == [2, 6]
    assert found.parts["uploads"] == [1, len(PART)]
    assert found.dumps[dump_path("main")].rows == {"public.projects": 2, "public.schema_migrations": 1}
    assert Contents.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_progress_names_what_is_read(tmp_path: pathlib.Path) -> None:
    content = tar_of(FILES)
    seen: list[tuple[int, int, str]] = []

    read_archive(written(tmp_path / "x.tar", content), lambda done, size, what: seen.append((done, size, what)))

    assert [what for _done, _size, what in seen] == list(FILES)
    assert [done for done, _size, _what in seen] == sorted(done for done, _size, _what in seen)
    assert {size for _done, size, _what in seen} == {len(content)}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("db/database.sql.gz", zipped(DUMP)[:-20], "cut short"),
        ("db/database.sql.gz", zipped(DUMP[:-40]), "does not end"),
        ("db/database.sql.gz", b"", "empty"),
        ("uploads.tar.gz", b"", "empty"),
        ("uploads.tar.gz", PART[:-9], "cut short"),
        ("uploads.tar.gz", zipped(tar_of({"./a": b"x" * 9000})[:4096]), "has no end"),
        ("uploads.tar.gz", b"not compressed", "not compressed with gzip"),
    ],
)
def test_one_member_that_is_damaged_is_named_and_the_rest_is_read(
    tmp_path: pathlib.Path, name: str, content: bytes, words: str
) -> None:
    found = read_archive(written(tmp_path / "x.tar", tar_of({**FILES, name: content, "zz.tar.gz": PART})))

    assert list(found.problems) == [name]
    assert words in found.problems[name]
    assert name not in found.dumps
    assert "zz" in found.parts


WHOLE = tar_of(FILES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE.rstrip(b"\0")) + 1023))
def test_an_archive_cut_anywhere_is_never_taken_for_whole(tmp_path: pathlib.Path, length: int) -> None:
    found = read_archive(written(tmp_path / "x.tar", WHOLE[:length]))

    assert found.problems[""]
    assert found.archive.size == length


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE.rstrip(b"\0")) - 1), st.integers(1, 255))
def test_any_changed_byte_changes_the_checksum_and_none_stops_the_reading(
    tmp_path: pathlib.Path, place: int, change: int
) -> None:
    changed = bytearray(WHOLE)
    changed[place] ^= change

    found = read_archive(written(tmp_path / "x.tar", bytes(changed)))

    assert found.archive.sha256 == hashlib.sha256(changed).hexdigest() != hashlib.sha256(WHOLE).hexdigest()


def test_garbage_amid_the_archive_is_not_its_end(tmp_path: pathlib.Path) -> None:
    place = tar_of({name: FILES[name] for name in list(FILES)[:-1]}).rstrip(b"\0")
    start = -(-len(place) // 512) * 512
    content = WHOLE[:start] + b"garbage " * 64 + WHOLE[start + 512 :]

    assert "no end" in read_archive(written(tmp_path / "x.tar", content)).problems[""]


@pytest.mark.parametrize("content", [b"", b"no archive", b"x" * 20_000])
def test_what_is_no_archive(tmp_path: pathlib.Path, content: bytes) -> None:
    assert read_archive(written(tmp_path / "x.tar", content)).problems[""]


def test_an_archive_that_is_not_there(tmp_path: pathlib.Path) -> None:
    for read in (read_archive, read_configuration):
        with pytest.raises(GitLabError, match="No such file"):
            read(str(tmp_path / "x.tar"))


CONFIGURATION: dict[str, bytes | None] = {
    "etc/gitlab": None,
    "etc/gitlab/gitlab.rb": b"external_url 'x'\n",
    "etc/gitlab/gitlab-secrets.json": b"{}",
    "etc/gitlab/ssl/gitlab-secrets.json": b"other",
}


def test_the_archive_of_the_configuration(tmp_path: pathlib.Path) -> None:
    content = tar_of(CONFIGURATION)

    found = read_configuration(written(tmp_path / "c.tar", content))

    assert found.problem is None
    assert found.archive.sha256 == hashlib.sha256(content).hexdigest()
    assert found.find("gitlab-secrets.json") == hashlib.sha256(b"{}").hexdigest()
    assert found.find("none") is None


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1200, 3000])
def test_the_archive_of_the_configuration_cut_short(tmp_path: pathlib.Path, length: int) -> None:
    assert read_configuration(written(tmp_path / "c.tar", tar_of(CONFIGURATION)[:length])).problem


@pytest.mark.parametrize(("name", "path"), [("main", "db/database.sql.gz"), ("ci", "db/ci_database.sql.gz")])
def test_where_a_dump_is(name: str, path: str) -> None:
    assert dump_path(name) == path
