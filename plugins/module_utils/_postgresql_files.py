# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The files of the packaged PostgreSQL: which majors have data, which have programs, and whether they go together.

C(gitlab-ctl pg-upgrade) keeps the old data beside the new ones, and links the programs of one major:
https://docs.gitlab.com/omnibus/settings/database/#upgrade-packaged-postgresql-server.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass

DATA = "/var/opt/gitlab/postgresql/data"
PROGRAMS = "/opt/gitlab/embedded/postgresql"
LINKED = "/opt/gitlab/embedded/bin/postgres"
SERVICE = "/opt/gitlab/service/postgresql"

_MAJOR_OF_PROGRAM = re.compile(r"/postgresql/(\d+)/")


@dataclass(frozen=True)
class Files:
    """The majors of PostgreSQL in a node's files: of the data, of the programs that are linked, of the data that were
    kept, and of the programs that are there. None where there is nothing, or nothing that tells."""

    data: int | None
    linked: int | None
    kept: tuple[int, ...] = ()
    bundled: tuple[int, ...] = ()


def read_files(data: str = DATA, programs: str = PROGRAMS, linked: str = LINKED) -> Files:
    """Return what is on this host."""
    # As gitlab-ctl looks for it: beside the directory that the name may only lead to.
    place = os.path.realpath(data)
    beside = [_number(path.rpartition(".")[2]) for path in glob.glob(f"{glob.escape(place)}.*")]
    kept = [major for major in beside if major is not None and _data_major(f"{place}.{major}") == major]
    bundled = [_number(path.split("/")[-2]) for path in glob.glob(f"{glob.escape(programs)}/*/bin")]
    match = _MAJOR_OF_PROGRAM.search(os.path.realpath(linked))
    return Files(
        _data_major(place),
        int(match.group(1)) if match else None,
        tuple(sorted(kept)),
        tuple(sorted(major for major in bundled if major is not None)),
    )


def broken_off(files: Files) -> tuple[str, str] | None:
    """Return what of a change of the major was left half done, so that no server runs, and what to do; None when nothing was."""
    if files.data is None and files.kept:
        major = files.kept[-1]
        return (
            f"There is no data directory {DATA}, and {DATA}.{major} is there: gitlab-ctl revert-pg-upgrade was ended while it put that back.",
            f"On the host: mv {DATA}.{major} {DATA} && gitlab-ctl revert-pg-upgrade -w -V {major}.",
        )
    if files.data is None or files.linked in (None, files.data):
        return None
    programs = f"the programs in {os.path.dirname(LINKED)} are of {files.linked}"
    text = f"The data are of PostgreSQL {files.data}, and {programs}: a change of the major was broken off."
    if files.data not in files.bundled:
        return text, f"Install the package of GitLab again that brings PostgreSQL {files.data}."
    return text, f"On the host: gitlab-ctl revert-pg-upgrade -w -V {files.data}, which then changes the programs alone."


def _data_major(directory: str) -> int | None:
    try:
        with open(os.path.join(directory, "PG_VERSION"), encoding="utf-8") as file:
            return _number(file.read().strip())
    except OSError:
        return None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]+", text) else None
