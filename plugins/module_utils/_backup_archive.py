# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reads a whole backup archive, and the archive of the configuration, and says what is in them."""

from __future__ import annotations

import tarfile
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_information
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_dump import (
    DamagedError,
    Dump,
    gunzip,
    scan_dump,
    scan_tar,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Archive
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_store import look_at, sha256_of
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

DUMP_SUFFIX = "database.sql.gz"
PART_SUFFIX = ".tar.gz"

SECRETS = "gitlab-secrets.json"
GITLAB_RB = "gitlab.rb"

_LONGEST_INFORMATION = 65536
_BLOCK = 512

# Called with the bytes that are done, all bytes, and what is being read.
Progress = t.Callable[[int, int, str], None]


@dataclass
class Contents:
    """What is in a backup archive. ``problems`` are of single members, by their names; "" is the archive itself."""

    archive: Archive
    information: str | None = None
    dumps: dict[str, Dump] = field(default_factory=dict)
    dump_sizes: dict[str, int] = field(default_factory=dict)
    # By the part's name: how many files, and their bytes.
    parts: dict[str, list[int]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Contents:
        """Return what :meth:`to_dict` was made of."""
        dumps = {
            name: Dump(one["server_version"], one["rows"], tuple(one["schema_migrations"]))
            for name, one in data["dumps"].items()
        }
        return cls(**dict(data, archive=Archive(**data["archive"]), dumps=dumps))


@dataclass
class ConfigurationContents:
    """What is in the archive of C(/etc/gitlab): the sha256 of each file by its name there."""

    archive: Archive
    files: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> ConfigurationContents:
        """Return what :meth:`to_dict` was made of."""
        return cls(**dict(data, archive=Archive(**data["archive"])))

    def find(self, name: str) -> str | None:
        """Return the sha256 of the file of that name right in C(/etc/gitlab), None when it is not in the archive."""
        return next((self.files[path] for path in self.files if path.split("/")[-2:] == ["gitlab", name]), None)


def dump_path(database: str) -> str:
    """Return where the dump of a database is in the archive, by the database's name such as C(main) or C(ci)."""
    return f"db/{'' if database == 'main' else database + '_'}{DUMP_SUFFIX}"


def read_archive(path: str, progress: Progress = lambda done, size, what: None) -> Contents:
    """Read a backup archive from end to end: its checksum, each dump, each compressed part.

    :raises GitLabError: it is not there, or cannot be read.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Beside the reading of the members, which takes longer.
        checksum = pool.submit(look_at, path)
        contents = Contents(Archive(path, 0, ""))
        try:
            with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                size = file.seek(0, 2)
                for member in _members(archive):
                    progress(member.offset, size, member.name)
                    _take(contents, archive, member)
                if not _ends(file, archive.offset):
                    contents.problems[""] = "it is cut short, or damaged: it has no end"
        except (tarfile.TarError, EOFError, ValueError) as error:
            contents.problems[""] = f"it cannot be read: {error}"
        except OSError as error:
            raise _unreadable(path, error) from error
        found = checksum.result()
    if found is None:
        raise _unreadable(path, FileNotFoundError(2, "No such file or directory"))
    contents.archive = found
    return contents


def read_configuration(path: str) -> ConfigurationContents:
    """Read the archive that C(gitlab-ctl backup-etc) made.

    :raises GitLabError: it is not there, or cannot be read.
    """
    found = look_at(path)
    if found is None:
        raise _unreadable(path, FileNotFoundError(2, "No such file or directory"))
    contents = ConfigurationContents(found)
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _members(archive):
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    contents.files[member.name] = sha256_of(content)
            if not _ends(file, archive.offset):
                contents.problem = "it is cut short, or damaged: it has no end"
    except (tarfile.TarError, EOFError, ValueError) as error:
        contents.problem = f"it cannot be read: {error}"
    except OSError as error:
        raise _unreadable(path, error) from error
    return contents


def _members(archive: tarfile.TarFile) -> t.Iterator[tarfile.TarInfo]:
    while True:
        member = archive.next()
        if member is None:
            return
        yield member
        # tarfile keeps all of them; an archive may hold millions.
        archive.members.clear()  # type: ignore[attr-defined]


def _take(contents: Contents, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    name = member.name[2:] if member.name.startswith("./") else member.name
    folder, slash, rest = name.partition("/")
    if member.isdir():
        # A part without a file in it is there all the same.
        contents.parts.setdefault(folder, [0, 0])
    if not member.isfile():
        return
    if name == _backup_information.FILE:
        contents.information = _content(archive, member).read(_LONGEST_INFORMATION).decode("utf-8", "replace")
    elif slash:
        count = contents.parts.setdefault(folder, [0, 0])
        count[0] += 1
        count[1] += member.size
        if folder == "db" and rest.endswith(DUMP_SUFFIX):
            contents.dump_sizes[name] = member.size
            _try(contents, name, lambda: contents.dumps.update({name: scan_dump(gunzip(_content(archive, member)))}))
    elif name.endswith(PART_SUFFIX):
        contents.parts[name[: -len(PART_SUFFIX)]] = [1, member.size]
        _try(contents, name, lambda: scan_tar(gunzip(_content(archive, member))))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> t.IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return content


def _try(contents: Contents, name: str, read: t.Callable[[], t.Any]) -> None:
    try:
        read()
    except DamagedError as error:
        contents.problems[name] = str(error)


def _ends(file: t.IO[bytes], offset: int) -> bool:
    """Return whether the mark of the end is there: two blocks of zeros. tarfile takes anything for the end."""
    file.seek(offset)
    return file.read(2 * _BLOCK) == bytes(2 * _BLOCK)


def _unreadable(path: str, error: OSError) -> GitLabError:
    return GitLabError(f"Cannot read {path}: {error.strerror}.", "Run as root (become: true), or make a new backup.")
