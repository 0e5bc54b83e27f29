# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The majors of PostgreSQL that are on the node, and which of them its programs are.

Each major has its programs in a folder of its own, and those that are used are links in /opt/gitlab/embedded/bin, as
with the real package: https://gitlab.com/gitlab-org/omnibus-gitlab/-/merge_requests/1058.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from gitlab_ctl import layout


def majors() -> list[int]:
    """All that are there, oldest first."""
    return sorted(int(folder.parent.name) for folder in layout.POSTGRESQL_MAJORS.glob("[0-9]*/bin"))


def programs(major: int) -> Path:
    """The folder of the programs of one major."""
    return layout.POSTGRESQL_MAJORS / str(major) / "bin"


def version(folder: Path) -> str:
    """The whole version, such as 15.8, of the programs in a folder."""
    answer = subprocess.run([str(folder / "postgres"), "--version"], stdout=subprocess.PIPE, text=True, check=True)
    return answer.stdout.split()[2]


def linked_version() -> str:
    return version(layout.EMBEDDED / "bin")


def major_of(text: str) -> int:
    return int(text.split(".")[0])


def data_major(data: Path) -> int | None:
    """The major that a data directory is of, None where there is none."""
    file = data / "PG_VERSION"
    return major_of(file.read_text(encoding="utf-8").strip()) if file.exists() else None


def link(major: int) -> None:
    """Make the programs of a major those that are used. Links to programs that it does not have stay as they are."""
    for program in programs(major).iterdir():
        used = layout.EMBEDDED / "bin" / program.name
        used.unlink(missing_ok=True)
        used.symlink_to(program)


def follow_data() -> bool:
    """Use the programs of the major that the data are of, where another package's files have put others in their place.

    Answers whether anything was changed.
    """
    major = data_major(layout.POSTGRESQL / "data")
    if major is None or major not in majors() or major == major_of(linked_version()):
        return False
    link(major)
    return True
