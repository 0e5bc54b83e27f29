# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second major of PostgreSQL, which a host gets beside the one of its Debian by a bind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .source import BuildError, digest

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements/postgresql.txt"
# The wheel's tags; its programs need nothing of Python.
_WHEEL = (
    *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"),
    *("--platform", "manylinux2014_x86_64"),
)
_PROGRAMS = Path("wheel/pgserver/pginstall/bin")
_MAJORS = "/opt/gitlab/embedded/postgresql"


def bind(cache: Path) -> str:
    """Fetch it, unless the cache has it; answers what `fleet.py up --bind` takes.

    :raises BuildError: it cannot be had, or does not run here.
    """
    target = cache / "postgresql" / digest(_REQUIREMENTS, Path(__file__))
    if not target.exists():
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _fetch(fresh)
        # Where another run was as quick, its folder is the same.
        shutil.rmtree(fresh) if target.exists() else fresh.rename(target)
    return f"{target}:{_MAJORS}/{_major(target)}"


def _fetch(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--no-deps", "--no-compile", "--require-hashes"]
    _call([*pip, *_WHEEL, "--target", str(folder / "wheel"), "-r", str(_REQUIREMENTS)])
    (folder / "bin").symlink_to(_PROGRAMS)
    # The owner of the data runs them.
    _call(["chmod", "-R", "go=rX", str(folder)])


def _major(folder: Path) -> str:
    # "postgres (PostgreSQL) 16.2"
    return _call([str(folder / "bin/postgres"), "--version"]).split()[2].split(".")[0]


def _call(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{argv[0]} does not run on this machine: {error.strerror}") from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(argv)} failed:\n{done.stdout.strip()}")
    return done.stdout
