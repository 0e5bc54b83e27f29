# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
import stat
import typing as t
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_manifest as m
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import Store, look_at
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_reading import changed_archives

SHA = "ab" * 32
NAME = "1700535909_2023_11_21_14.0.12-ee"


def manifest(**changes: t.Any) -> m.Manifest:
    """Return a whole manifest."""
    values: dict[str, t.Any] = {
        "id": NAME,
        "archive": m.Archive(f"/var/opt/gitlab/backups/{NAME}{m.SUFFIX}", 10240, SHA),
        "configuration": m.Configuration("/etc/gitlab/config_backup/c.tar", 2048, SHA, ("etc/gitlab/gitlab.rb",)),
        "gitlab": m.GitLab("14.0.12-ee", "ee", m.Package("gitlab-ee", "14.0.12-ee.0"), "omnibus"),
        "postgresql": m.PostgreSQL("12.6", 12),
        "databases": (
            m.DatabaseDump(
                "main", "gitlabhq_production", "db/database.sql.gz", 512, {"public.projects": 42}, 3, "20210611100359"
            ),
        ),
        "parts": (m.Part("repositories", 7, 4096),),
        "skipped": ("registry",),
        "secrets": {"acme-1": SHA},
        "created_at": "2023-11-21T03:05:09Z",
        "verified_at": "2023-11-21T03:10:00Z",
        "verified": True,
        "checks": (m.Check("dump of main", True, "complete"),),
        "proved_by_restore": m.Proof("2023-11-21T03:12:00Z", "acme-1", {"main": {"tables": 1}}),
        "copies": (m.Copy("controller", "/srv/backups/x.tar", SHA, "2023-11-21T03:11:00Z"),),
    }
    return m.Manifest(**dict(values, **changes))


def test_what_was_written_is_read_again() -> None:
    whole = manifest()
    bare = manifest(configuration=None, proved_by_restore=None, copies=(), gitlab=replace(whole.gitlab, package=None))

    dump = replace(whole.databases[0], versions=("20210611042021", "20210611100359"))
    listed = replace(whole, databases=(dump,))

    assert m.Manifest.from_json(whole.to_json()) == whole
    assert m.Manifest.from_json(listed.to_json()) == listed
    assert m.Manifest.from_dict(bare.to_dict()) == bare


def without(data: dict[str, t.Any], *path: str) -> dict[str, t.Any]:
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return data


DAMAGED: list[tuple[str, t.Callable[[dict[str, t.Any]], dict[str, t.Any]]]] = [
    ("no archive", lambda data: without(data, "archive")),
    ("no checksum", lambda data: without(data, "archive", "sha256")),
    ("short checksum", lambda data: dict(data, archive=dict(data["archive"], sha256="ab"))),
    ("size as text", lambda data: dict(data, archive=dict(data["archive"], size="10240"))),
    ("verified as text", lambda data: dict(data, verified="true")),
    ("no moment", lambda data: dict(data, created_at="yesterday")),
    ("a list in place of the archive", lambda data: dict(data, archive=[])),
    ("null in place of the databases", lambda data: dict(data, databases=None)),
    ("another format", lambda data: dict(data, format=2)),
    ("no format", lambda data: without(data, "format")),
    ("an id that leaves the directory", lambda data: dict(data, id="../../etc")),
    ("nothing", lambda data: {}),
]


@pytest.mark.parametrize(("damage"), [damage for _name, damage in DAMAGED], ids=[name for name, _damage in DAMAGED])
def test_a_damaged_manifest_is_refused_with_what_to_do(
    damage: t.Callable[[dict[str, t.Any]], dict[str, t.Any]],
) -> None:
    with pytest.raises(GitLabError) as caught:
        m.Manifest.from_dict(damage(manifest().to_dict()))
    assert caught.value.remedy


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_a_manifest_or_an_error(text: str) -> None:
    with pytest.raises(GitLabError):
        m.Manifest.from_json(text)


@pytest.mark.parametrize("name", ["x", NAME, "before-14.1", "a" * 200])
def test_ids(name: str) -> None:
    assert m.check_id(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-x", "a\n", "a" * 201, "ä", f"x{m.SUFFIX}", "$(id)"])
def test_names_that_cannot_be_ids(name: str) -> None:
    with pytest.raises(GitLabError):
        m.check_id(name)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("14.0.12-ee", "14.0.12-ee", True),
        ("14.0.12", "14.0.12-ce", True),
        ("14.0.12", "14.0.12-ee", False),
        ("14.0.12-ee", "14.0.11-ee", False),
        ("14.0.0-rc1-ee", "14.0.0-ee", False),
    ],
)
def test_a_backup_restores_into_the_same_version_and_edition_only(one: str, other: str, same: bool) -> None:
    for pair in itertools.permutations((one, other)):
        assert m.same_version(*pair) is same


NOW = datetime(2023, 11, 21, 5, 5, 9, tzinfo=UTC)


def test_a_verified_backup_is_not_refused() -> None:
    assert m.refusals(manifest(), "14.0.12-ee", NOW, 2 * 3600) == []


@pytest.mark.parametrize(
    ("changes", "version", "max_age", "words"),
    [
        ({"verified": False}, None, None, "its verification did not end"),
        ({"verified": False, "checks": (m.Check("dump", False, "cut short"),)}, None, None, "dump: cut short"),
        ({}, "14.0.12", None, "is of GitLab 14.0.12-ee, not of 14.0.12"),
        ({}, None, 3600, "is 2 h old; at most 1 h are allowed"),
    ],
)
def test_each_reason_refuses(changes: dict[str, t.Any], version: str | None, max_age: int | None, words: str) -> None:
    (reason,) = m.refusals(manifest(**changes), version, NOW, max_age)
    assert words in reason


def test_a_later_copy_takes_the_place_of_the_former_one_there() -> None:
    again = m.Copy("controller", "/srv/backups/x.tar", "cd" * 32, "2023-11-22T00:00:00Z")
    other = m.Copy("store-1", "/srv/backups/x.tar", SHA, "2023-11-22T00:00:00Z")

    assert manifest().with_copy(again).with_copy(other).copies == (again, other)


class Backup(t.NamedTuple):
    store: Store
    archive: pathlib.Path
    configuration: pathlib.Path
    manifest: m.Manifest


def archive_of(path: pathlib.Path, content: bytes) -> m.Archive:
    path.write_bytes(content)
    return m.Archive(str(path), len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def backup(tmp_path: pathlib.Path) -> Backup:
    archive = archive_of(tmp_path / "a.tar", b"content")
    configuration = archive_of(tmp_path / "c.tar", b"secrets")
    whole = manifest(
        archive=archive,
        configuration=m.Configuration(configuration.path, configuration.size, configuration.sha256, ("gitlab.rb",)),
    )
    store = Store(str(tmp_path / "state" / "backups"))
    store.write(whole)
    return Backup(store, tmp_path / "a.tar", tmp_path / "c.tar", whole)


def test_a_manifest_is_for_root_alone(backup: Backup) -> None:
    path = pathlib.Path(backup.store.path(NAME))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(directory.stat().st_mode) for directory in list(path.parents)[:3]] == [0o700] * 3


def test_a_backup_that_is_as_it_was_is_accepted(backup: Backup) -> None:
    assert backup.store.require() == backup.manifest
    assert backup.store.require(NAME, "14.0.12-ee") == backup.manifest


@pytest.mark.parametrize("file", ["archive", "configuration"])
@pytest.mark.parametrize(
    ("content", "words"), [(b"contenT", "has the sha256"), (b"cut", "has 3 bytes"), (None, "is not there any more")]
)
def test_a_file_that_was_changed_is_refused(backup: Backup, file: str, content: bytes | None, words: str) -> None:
    path: pathlib.Path = getattr(backup, file)
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(GitLabError) as caught:
        backup.store.require(configuration=True)
    assert words in caught.value.msg
    assert caught.value.remedy


def test_a_lost_configuration_counts_only_where_it_is_wanted(backup: Backup) -> None:
    backup.configuration.unlink()

    assert backup.store.require() == backup.manifest
    assert changed_archives(backup.manifest) == []

    backup.archive.write_bytes(b"contenT")
    with pytest.raises(GitLabError, match="has the sha256"):
        backup.store.require()
    assert len(changed_archives(backup.manifest)) == 1


def test_one_that_is_not_verified_is_refused_by_name_and_not_chosen_without(backup: Backup) -> None:
    backup.store.write(replace(backup.manifest, verified=False))

    for name, words in ((NAME, "is not verified"), (None, "no verified backup"), ("other", "has no manifest")):
        with pytest.raises(GitLabError, match=words):
            backup.store.require(name)


def test_the_newest_verified_one_is_chosen(backup: Backup) -> None:
    backup.store.write(replace(backup.manifest, id="older", created_at="2023-11-20T03:05:09Z"))
    backup.store.write(replace(backup.manifest, id="newer", created_at="2023-11-22T03:05:09Z", verified=False))

    assert backup.store.require().id == NAME
    assert [one.id for one in backup.store.readable()] == ["newer", NAME, "older"]


def test_a_manifest_that_cannot_be_read_hides_no_other_and_is_never_accepted(backup: Backup) -> None:
    backup.store.write(replace(backup.manifest, id="broken", created_at="2023-11-22T03:05:09Z"))
    path = pathlib.Path(backup.store.path("broken"))
    path.write_text(json.dumps(dict(backup.manifest.to_dict(), archive=None)))

    assert backup.store.ids() == [NAME, "broken"]
    assert backup.store.require().id == NAME
    with pytest.raises(GitLabError, match="not a whole manifest"):
        backup.store.require("broken")


@pytest.mark.parametrize(
    ("verified", "checks", "once"),
    [
        (True, [("archive", True)], True),
        (False, [("archive", True), ("files", False)], True),
        (False, [("archive", False), ("files", False)], False),
        (False, [("restore", False)], False),
        # Its verification did not end.
        (False, [("archive", True)], False),
        (False, [], False),
    ],
)
def test_only_files_that_changed_leave_a_backup_one_that_was_verified(
    backup: Backup, verified: bool, checks: list[tuple[str, bool]], once: bool
) -> None:
    one = replace(
        backup.manifest, verified=verified, checks=tuple(m.Check(name, passed, "detail") for name, passed in checks)
    )
    backup.store.write(one)

    assert one.was_verified() is once
    assert backup.store.verified_once(NAME) == (one if once else None)


def test_no_manifest_is_none_of_a_verified_backup(backup: Backup) -> None:
    assert backup.store.verified_once("other") is None
    pathlib.Path(backup.store.path(NAME)).write_text("{}")
    assert backup.store.verified_once(NAME) is None


def test_the_manifest_of_an_archive_that_is_made_anew_is_put_away(backup: Backup) -> None:
    backup.store.put_away(NAME)
    backup.store.put_away("other")

    assert backup.store.read(NAME) is None
    assert m.Manifest.from_json(pathlib.Path(backup.store.file(NAME, "former_manifest.json")).read_text()) == (
        backup.manifest
    )


def test_a_backup_that_was_forgotten_is_gone(backup: Backup) -> None:
    backup.store.forget(NAME)

    assert backup.store.ids() == []
    assert backup.store.read(NAME) is None
    assert backup.archive.exists()


def test_a_file_of_another_size_is_not_read(tmp_path: pathlib.Path) -> None:
    archive = archive_of(tmp_path / "a.tar", b"content")

    assert look_at(archive.path) == archive
    assert look_at(archive.path, archive.size) == archive
    assert look_at(archive.path, 3) == replace(archive, sha256="")
    assert look_at(str(tmp_path / "none")) is None
