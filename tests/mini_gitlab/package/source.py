# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the packages are made of, and a digest of it."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = HERE / "root"
HOOKS = HERE / "hooks"
APPLICATION = HERE.parent / "app"
SCENARIOS = HERE.parent / "scenarios"
FLEET = HERE.parent / "fleet.py"

sys.path.insert(0, str(FILES / "opt/gitlab/embedded/lib"))

from gitlab_ctl.release import Release, format_series  # noqa: E402 - the package's own table, asked on both sides

__all__ = [
    "APPLICATION",
    "FILES",
    "FLEET",
    "HOOKS",
    "SCENARIOS",
    "BuildError",
    "Release",
    "digest",
    "format_series",
    "releases",
]


class BuildError(Exception):
    """Something could not be built; the text says what and what to do."""


@functools.cache
def releases() -> tuple[str, ...]:
    """The versions the application can be laid out as, oldest first."""
    answer = subprocess.run(
        [sys.executable, str(APPLICATION / "bin/assemble"), "--list"], stdout=subprocess.PIPE, text=True, check=True
    )
    return tuple(answer.stdout.split())


def digest(*parts: str | Path) -> str:
    """Twelve characters that change when any text, or any file's place, mode or content below a path does."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha.update(f"text {part}\0".encode())
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if path.is_file() and "__pycache__" not in path.parts:
                sha.update(f"file {path.relative_to(part.parent)} {path.stat().st_mode:o}\0".encode())
                sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()[:12]
