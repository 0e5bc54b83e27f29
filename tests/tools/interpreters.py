# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the real Python interpreters of this machine and the ansible-core line each can run.

A version manager's shim is no interpreter: it starts one, or fails when its version is not the chosen one. ansible-test
would take it for what it says. So shims are left out of PATH, and the interpreters behind them are looked for instead.

    interpreters.py choose PYTHON   the interpreter behind this name, its version and the newest ansible-core line it runs
    interpreters.py path            PATH without folders of shims
    interpreters.py link DIR        fill DIR with links named python3.N, one for each version found
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

Version = tuple[int, int]

# Controller Python of each line: ansible_test/_util/target/common/constants.py of that ansible-core.
CORE_LINES: dict[str, tuple[Version, Version]] = {
    "2.16": ((3, 10), (3, 12)),
    "2.18": ((3, 11), (3, 13)),
    "2.19": ((3, 11), (3, 13)),
    "2.21": ((3, 12), (3, 14)),
}

# Targets of the collection begin here; ansible-test also compiles and imports for them.
OLDEST: Version = (3, 8)

_INTERPRETER = re.compile(r"python3\.\d+$")
_ASK = "import json, os, sys; print(json.dumps([os.path.realpath(getattr(sys, '_base_executable', sys.executable)), sys.version_info[:2]]))"


def is_shim_folder(folder: str) -> bool:
    """Tell whether a folder of PATH holds a version manager's shims."""
    return Path(folder).name == "shims"


def real_path(path: str) -> str:
    """Return PATH without folders of shims."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if folder and not is_shim_folder(folder))


def folders(path: str) -> t.Iterator[Path]:
    """Yield where interpreters may lie: the folders of PATH, and the versions behind each folder of shims."""
    for folder in path.split(os.pathsep):
        if folder and is_shim_folder(folder):
            yield from sorted(Path(folder).parent.glob("versions/*/bin"), reverse=True)
        elif folder:
            yield Path(folder)


def ask(python: str | Path) -> tuple[str, Version]:
    """Ask an interpreter for its real path and its version. Raises OSError or CalledProcessError when it does not run."""
    answer = subprocess.run([str(python), "-c", _ASK], check=True, capture_output=True, text=True).stdout
    executable, (major, minor) = json.loads(answer)
    return executable, (major, minor)


def find_all(path: str) -> dict[Version, str]:
    """Return the first interpreter of each version that runs, oldest version first."""
    found: dict[Version, str] = {}
    for folder in folders(path):
        for candidate in sorted(folder.glob("python3.*")) if folder.is_dir() else ():
            if not _INTERPRETER.search(candidate.name):
                continue
            try:
                executable, version = ask(candidate)
            except (OSError, subprocess.CalledProcessError):
                continue
            if version >= OLDEST:
                found.setdefault(version, executable)
    return dict(sorted(found.items()))


def choose(python: str, path: str) -> tuple[str, Version] | None:
    """Return the interpreter behind a name. A shim may refuse to start a version that is there: then that one is meant."""
    try:
        return ask(python)
    except (OSError, subprocess.CalledProcessError):
        wanted = {f"python{text(version)}": (executable, version) for version, executable in find_all(path).items()}
        return wanted.get(python)


def newest_core(version: Version) -> str | None:
    """Return the newest tested ansible-core line that runs on this Python, if any."""
    lines = [line for line, (oldest, newest) in CORE_LINES.items() if oldest <= version <= newest]
    return lines[-1] if lines else None


def text(version: Version) -> str:
    """Write a version as in python3.11."""
    return f"{version[0]}.{version[1]}"


def link(directory: Path, interpreters: t.Mapping[Version, str]) -> None:
    """Make links to the interpreters the only content of a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        entry.unlink()
    for version, executable in interpreters.items():
        (directory / f"python{text(version)}").symlink_to(executable)


def main(arguments: list[str]) -> int:
    path = os.environ.get("PATH", os.defpath)
    command, *rest = arguments or [""]
    if command == "choose" and len(rest) == 1:
        chosen = choose(rest[0], path)
        if chosen is None:
            print(f"{rest[0]} does not run. Name an interpreter: make PYTHON=/usr/bin/python3.11", file=sys.stderr)
            return 1
        executable, version = chosen
        core = newest_core(version)
        if core is None:
            print(f"No tested ansible-core runs on Python {text(version)} ({executable}).", file=sys.stderr)
            return 1
        print(executable, text(version), core)
    elif command == "path":
        print(real_path(path))
    elif command == "link" and len(rest) == 1:
        link(Path(rest[0]), find_all(path))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
