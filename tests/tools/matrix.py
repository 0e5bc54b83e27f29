# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the levels that depend on ansible-core once for each line of it, with an interpreter found for that line.

    matrix.py [LEVEL...]    default: unit sanity, and integration when root

A line without an interpreter on this machine is named as not run. It is no failure: a machine has the Python it has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

from interpreters import CORE_LINES, Version, find_all, text

# Of integration, what goes through most of Ansible: modules, an action plugin and a playbook on hosts, over SSH.
LEVEL_ARGUMENTS: dict[str, list[str]] = {"integration": ["TESTS=tests/integration/bbm_status/test_on_hosts.py"]}


class Run(t.NamedTuple):
    """One line of ansible-core and what came of it."""

    core: str
    python: str
    outcome: str


def interpreter_for(core: str, interpreters: t.Mapping[Version, str]) -> tuple[Version, str] | None:
    """Return the newest interpreter that this line of ansible-core runs on."""
    oldest, newest = CORE_LINES[core]
    usable = [(version, path) for version, path in interpreters.items() if oldest <= version <= newest]
    return max(usable) if usable else None


def run_line(core: str, interpreter: str, levels: t.Sequence[str]) -> str:
    """Run the levels under one line of ansible-core and return which of them failed."""
    failed = []
    # What was said to the make that runs this is not meant for the levels.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
    }
    for level in levels:
        print(f"\n=== ansible-core {core}: {level} ({interpreter})", flush=True)
        command = ["make", level, f"PYTHON={interpreter}", f"CORE={core}", *LEVEL_ARGUMENTS.get(level, [])]
        if subprocess.run(command, check=False, env=environment).returncode:
            failed.append(level)
    return f"FAILED: {' '.join(failed)}" if failed else "passed"


def main(levels: list[str]) -> int:
    if not levels:
        levels = ["unit", "sanity"] + (["integration"] if os.geteuid() == 0 else [])
    interpreters = find_all(os.environ.get("USERS_PATH") or os.environ.get("PATH", os.defpath))
    runs = []
    for core, (oldest, newest) in CORE_LINES.items():
        found = interpreter_for(core, interpreters)
        if found is None:
            runs.append(Run(core, "-", f"NOT RUN: no Python {text(oldest)} to {text(newest)} on this machine"))
        else:
            runs.append(Run(core, text(found[0]), run_line(core, found[1], levels)))
    print(f"\n=== Matrix: {' '.join(levels)}")
    for run in runs:
        print(f"  ansible-core {run.core:5} Python {run.python:5} {run.outcome}")
    outcomes = {run.outcome for run in runs}
    return 0 if "passed" in outcomes and not any(outcome.startswith("FAILED") for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
