# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every file names its licence, and none names the machine it was written on."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
import typing as t
from pathlib import Path

LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"
HEADER_LINES = 12

# Paths of one developer's or one CI machine, and hosts of package registries: which of them is asked is the user's setting.
FORBIDDEN = {
    "a path of one machine": re.compile(
        r"(?<![\w./}-])/(?:home/(?!git\b)[a-z]|Users/|work/|workspace/|root/\.(?!ssh\b))"
    ),
    "a package registry": re.compile(
        r"\b(?:pypi|test\.pypi|rubygems|registry\.npmjs|proxy\.golang)\.org\b|\bpythonhosted\.org\b|\b(?:deb|security|ftp)\.debian\.org\b"
    ),
}


def listed(root: Path) -> list[str]:
    """Return the files that belong to the collection, as git sees them."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    return sorted(name for name in names if name and (root / name).is_file())


def covered_patterns(root: Path) -> list[str]:
    """Return the patterns of the files whose licence REUSE.toml states."""
    annotations = tomllib.loads((root / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    return [pattern.replace("**", "*") for annotation in annotations for pattern in annotation["path"]]


def check_text(name: str, text: str, licence_elsewhere: bool) -> t.Iterator[str]:
    """Yield what is wrong with one file."""
    lines = text.splitlines()
    if lines and not licence_elsewhere and not any(LICENCE in line for line in lines[:HEADER_LINES]):
        yield f"{name}:1: the first {HEADER_LINES} lines lack '{LICENCE}'"
    for number, line in enumerate(lines, 1):
        for what, pattern in FORBIDDEN.items():
            match = pattern.search(line)
            if match:
                yield f"{name}:{number}: holds {what}: {match.group()}"


def check(root: Path) -> t.Iterator[str]:
    """Yield what is wrong with any file. Files that are not text are left out: they hold no line to read."""
    patterns = covered_patterns(root)
    own = Path(__file__).resolve()
    for name in listed(root):
        if name == "LICENSE" or (root / name).resolve() == own:
            continue
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield from check_text(name, text, any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
