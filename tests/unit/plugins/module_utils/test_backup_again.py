# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup that was verified is looked at again, when nobody knows any more what the instance was like."""

from __future__ import annotations

import contextlib
import gzip
import io
import pathlib
import tarfile
import typing as t
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_manifest as m
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_verify, _backup_worker
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_again import differences, judge
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    ConfigurationContents,
    Contents,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store, look_at
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job

NAME = "before"
DUMP = "db/database.sql.gz"
WHOLE_DUMP = b"""--
-- PostgreSQL database dump
--

CREATE TABLE public.a (
    id integer
);

COPY public.a (id) FROM stdin;
1
\\.

--
-- PostgreSQL database dump complete
--

"""


def pack(path: pathlib.Path, members: t.Mapping[str, bytes]) -> m.Archive:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = look_at(str(path))
    assert found
    return found


def manifest(archive: m.Archive, configuration: m.Archive | None) -> m.Manifest:
    """Return the manifest of a verified backup, of an instance that is not there."""
    return m.Manifest(
        id=NAME,
        archive=archive,
        configuration=m.Configuration(
            configuration.path, configuration.size, configuration.sha256, ("etc/gitlab/gitlab.rb",)
        )
        if configuration
        else None,
        gitlab=m.GitLab("14.0.12-ee", "ee", m.Package("gitlab-ee", "14.0.12-ee.0"), "omnibus"),
        postgresql=m.PostgreSQL("12.6", 12),
        databases=(m.DatabaseDump("main", "gitlabhq_production", DUMP, 9, {"public.a": 1}, 1, "20210611100359"),),
        parts=(m.Part("db", 1, 9),),
        skipped=(),
        secrets={"acme-1": "ab" * 32},
        created_at="2023-11-21T03:05:09Z",
        verified_at="2023-11-21T03:10:00Z",
        verified=True,
        checks=(m.Check("archive", True, "whole"), m.Check("version", True, "as installed")),
        proved_by_restore=m.Proof("2023-11-21T03:12:00Z", "acme-1", {"main": {"tables": 1}}),
        copies=(m.Copy("controller", "/srv/x.tar", archive.sha256, "2023-11-21T03:11:00Z"),),
    )


@dataclass
class Backup:
    """A verified backup with its files, and the verification of it without an instance to ask."""

    root: pathlib.Path
    configuration_wanted: bool = True
    result: dict[str, t.Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.archive = self.root / "a.tar"
        self.configuration = self.root / "c.tar"
        self.store = Store(str(self.root / "state" / "backups"))
        self.whole = {"backup_information.yml": b":gitlab_version: 14.0.12-ee\n", DUMP: gzip.compress(WHOLE_DUMP)}
        self.manifest = manifest(
            pack(self.archive, self.whole), pack(self.configuration, {"etc/gitlab/gitlab.rb": b"x"})
        )
        self.store.write(self.manifest)

    def verify(self, check_mode: bool = False, rc: int | None = None) -> m.Manifest | None:
        """Read it as the job does, and conclude. Any question to the instance ends in an AttributeError."""
        backup = _backup_verify.Backup(
            NAME, str(self.archive), str(self.configuration), self.configuration_wanted, (), "acme-1", {"acme-2": None}
        )
        work = _backup_verify.VerifyJob(
            t.cast("t.Any", None), t.cast("t.Any", None), self.store, {}, backup, lambda: None, check_mode
        )
        try:
            work.conclude(None if check_mode else self._read(rc), None)
        finally:
            self.result = work.result
        return self.store.read(NAME)

    def _read(self, rc: int | None) -> Job:
        directory = self.root / "job"
        directory.mkdir(exist_ok=True)
        status = rc or 0
        with (directory / "errors").open("w") as errors, contextlib.redirect_stderr(errors):
            try:
                _backup_worker.main(
                    [str(self.archive), str(self.configuration), self.store.file(NAME, "contents.json")]
                )
            except SystemExit as end:
                status = int(str(end.code))
        return Job("backup_verify", ("read",), str(directory), "ended", 0.0, status, 1.0)


@pytest.fixture
def backup(tmp_path: pathlib.Path) -> Backup:
    return Backup(tmp_path)


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_same_files_keep_what_was_verified_whatever_became_of_the_instance(
    backup: Backup, check_mode: bool
) -> None:
    assert backup.verify(check_mode) == backup.manifest

    assert (backup.result["changed"], backup.result["verified"]) == (False, True)
    assert backup.result["manifest"] == backup.manifest.to_dict()
    assert backup.manifest.verified_at in backup.result["notes"][0]
    assert backup.store.require(NAME) == backup.manifest


def test_files_that_were_moved_are_still_those_that_were_verified(backup: Backup) -> None:
    backup.archive = backup.archive.rename(backup.root / "moved.tar")
    backup.configuration = backup.configuration.rename(backup.root / "moved-c.tar")

    moved = backup.verify()

    assert moved
    assert backup.result["changed"]
    assert (moved.archive.path, moved.copies) == (str(backup.archive), backup.manifest.copies)
    assert moved.configuration
    assert moved.configuration.path == str(backup.configuration)
    assert moved.configuration.members == ("etc/gitlab/gitlab.rb",)
    assert backup.store.require(NAME) == moved


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def tamper(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    # Of the end, which holds nothing.
    content[-9] ^= 1
    path.write_bytes(content)


def replace_it(path: pathlib.Path) -> None:
    pack(path, {"backup_information.yml": b":gitlab_version: 14.0.12-ee\n", DUMP: gzip.compress(WHOLE_DUMP + b"--\n")})


def make_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


SPOILED: list[tuple[t.Callable[[pathlib.Path], None], str]] = [
    (cut, "has 700 bytes"),
    (tamper, "has the sha256"),
    (replace_it, "when it was verified"),
    (pathlib.Path.unlink, "Cannot read"),
    # Root can read whatever it is not a file.
    (make_folder, "Cannot read"),
]


@pytest.mark.parametrize("file", ["archive", "configuration"])
@pytest.mark.parametrize(("spoil", "words"), SPOILED)
def test_other_files_are_accepted_by_nobody_until_the_verified_ones_are_back(
    backup: Backup, spoil: t.Callable[[pathlib.Path], None], words: str, file: str
) -> None:
    path: pathlib.Path = getattr(backup, file)
    whole = path.read_bytes()
    spoil(path)

    for _again in range(2):
        with pytest.raises(GitLabError, match="is not verified") as caught:
            backup.verify()
        assert words in caught.value.msg
        assert "Bring back" in (caught.value.remedy or "")
        assert caught.value.details["verified"] is False
        found = backup.store.read(NAME)
        assert found
        assert not found.verified
        assert [one.name for one in found.failed_checks()] == [m.FILES]
        with pytest.raises(GitLabError, match="is not verified"):
            backup.store.require(NAME)
        with pytest.raises(GitLabError, match="no verified backup"):
            backup.store.require()

    if path.is_dir():
        path.rmdir()
    path.write_bytes(whole)
    back = backup.verify()
    assert back
    assert replace(back, verified_at=backup.manifest.verified_at) == backup.manifest
    assert backup.store.require(NAME) == back


def test_check_mode_says_so_and_writes_nothing(backup: Backup) -> None:
    for spoil in (tamper, pathlib.Path.unlink):
        spoil(backup.archive)
        with pytest.raises(GitLabError, match="is not verified") as caught:
            backup.verify(check_mode=True)
        assert caught.value.details["verified"] is False
        assert backup.store.read(NAME) == backup.manifest


@pytest.mark.parametrize("check_mode", [True, False])
def test_one_that_was_never_verified_and_cannot_be_read_is_not_verified(backup: Backup, check_mode: bool) -> None:
    unverified = replace(backup.manifest, verified=False, checks=(m.Check("version", False, "another"),))
    backup.store.write(unverified)
    backup.archive.unlink()

    with pytest.raises(GitLabError, match="could not be read") as caught:
        backup.verify(check_mode)
    assert caught.value.details["verified"] is False
    assert backup.store.read(NAME) == unverified


def test_one_that_was_never_verified_is_compared_with_the_instance(backup: Backup) -> None:
    backup.store.write(replace(backup.manifest, verified=False, checks=(m.Check("version", False, "another"),)))

    # There is none to ask.
    with pytest.raises(AttributeError):
        backup.verify()


def test_a_reading_that_was_killed_says_nothing_against_the_backup(backup: Backup) -> None:
    with pytest.raises(GitLabError, match="could not be read"):
        backup.verify(rc=137)
    assert backup.store.require(NAME) == backup.manifest


def test_what_was_verified_without_a_configuration_does_not_get_one_afterwards(backup: Backup) -> None:
    bare = replace(backup.manifest, configuration=None)
    backup.store.write(bare)

    with pytest.raises(GitLabError, match="without an archive of /etc/gitlab") as caught:
        backup.verify()
    assert "configuration: false" in (caught.value.remedy or "")
    assert backup.store.require(NAME) == bare

    backup.configuration_wanted = False
    assert backup.verify() == bare


ARCHIVE = m.Archive("/b/a.tar", 10, "ab" * 32)
SAVED = m.Archive("/c/c.tar", 10, "cd" * 32)


@pytest.mark.parametrize(
    ("problems", "saved_problem", "words"),
    [
        ({}, None, []),
        # A disk that gives other bytes at the second reading.
        ({"": "it is cut short"}, None, ["/b/a.tar: it is cut short."]),
        ({DUMP: "cut short"}, None, [f"{DUMP}: cut short."]),
        ({"uploads.tar.gz": "damaged"}, None, ["uploads.tar.gz: damaged."]),
        # No database of the instance: it was not looked at the first time either.
        ({"db/geo_database.sql.gz": "cut short"}, None, []),
        ({}, "it has no end", ["/c/c.tar: it has no end."]),
    ],
)
def test_damage_counts_though_the_checksum_is_the_same(
    problems: dict[str, str], saved_problem: str | None, words: list[str]
) -> None:
    former = manifest(ARCHIVE, SAVED)
    contents = Contents(ARCHIVE, problems=problems)
    saved = ConfigurationContents(SAVED, problem=saved_problem)

    assert differences(former, contents, saved) == words
    assert judge(former, contents, saved, "2023-11-22T00:00:00Z").verified is not bool(words)


def test_a_configuration_that_was_not_read_is_none() -> None:
    assert differences(manifest(ARCHIVE, SAVED), Contents(ARCHIVE), None) == ["/c/c.tar is not there any more."]
    assert differences(manifest(ARCHIVE, None), Contents(ARCHIVE), None) == []
