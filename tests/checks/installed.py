# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Use an installed copy as a user would: read every plugin's and role's documentation, parse every playbook.

installed.py DIRECTORY    where ansible-galaxy installed the collection
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

COLLECTION = "gitlab_fleet.upgrade"
PLUGIN_TYPES = {"module": "modules", "filter": "filter", "test": "test"}


def ansible_doc(kind: str, names: list[str]) -> dict[str, t.Any]:
    """Return what ansible-doc knows of these names. Raises CalledProcessError when it stops."""
    command = ["ansible-doc", "--json", "--type", kind, *names]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def plugin_names(collection: Path, folder: str) -> list[str]:
    """Return the full names of the plugins in a folder. A filter or test is documented beside its code, or in a file of its own."""
    paths = (collection / "plugins" / folder).glob("*.*")
    return sorted({f"{COLLECTION}.{path.stem}" for path in paths if not path.stem.startswith("_")})


def check_documentation(collection: Path) -> t.Iterator[str]:
    """Yield what ansible-doc cannot show, and print what it can."""
    wanted = {kind: plugin_names(collection, folder) for kind, folder in PLUGIN_TYPES.items()}
    wanted["role"] = sorted(f"{COLLECTION}.{path.name}" for path in (collection / "roles").glob("[!_]*"))
    for kind, names in wanted.items():
        if not names:
            continue
        known = ansible_doc(kind, names)
        print(f"{kind}: documentation of {', '.join(known)}")
        for name in names:
            if not known.get(name) or "error" in known[name]:
                yield f"ansible-doc --type {kind} {name}: no documentation"


def check_playbooks(collection: Path) -> t.Iterator[str]:
    """Yield the playbooks that do not parse by their full name."""
    for path in sorted((collection / "playbooks").glob("*.yml")):
        name = f"{COLLECTION}.{path.stem}"
        command = ["ansible-playbook", "--inventory", "localhost,", "--syntax-check", name]
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
        print(f"playbook: syntax of {name}")
        if answer.returncode:
            yield f"{name}: {answer.stderr.strip() or answer.stdout.strip()}"


def main(directory: Path) -> int:
    collection = directory.resolve() / "ansible_collections" / Path(*COLLECTION.split("."))
    os.chdir(directory)
    problems = [*check_documentation(collection), *check_playbooks(collection)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
