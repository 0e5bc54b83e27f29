# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of its own fleet while an image is made, through the command line of fleet.py."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import typing as t
from pathlib import Path

from .source import FLEET, BuildError

REPOSITORY = "/srv/gitlab-repo"
_NAME = "gitlab"


class Host:
    """The one host of a fleet."""

    def __init__(self, fleet: str) -> None:
        self._fleet = fleet

    def run(self, script: str) -> None:
        """Run a shell script as root; its output goes to stderr as it comes.

        :raises BuildError: it exits non-zero.
        """
        argv = [str(FLEET), "--fleet", self._fleet, "exec", _NAME, "--", "bash", "-euc", script]
        if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode != 0:
            raise BuildError(f"a step in host {_NAME} of fleet {self._fleet} failed; its output is above")

    def push(self, source: Path, target: str) -> None:
        fleet("--fleet", self._fleet, "push", _NAME, str(source), target)

    def save(self, image: str) -> None:
        """Shut the host down and keep its files as an image."""
        fleet("--fleet", self._fleet, "stop", _NAME)
        fleet("--fleet", self._fleet, "image", _NAME, image)


@contextlib.contextmanager
def fresh_host(key: str, repository: Path, image: str | None) -> t.Iterator[Host]:
    """A new host with the package repository in it, gone afterwards."""
    name = f"build-{key}"
    fleet("--fleet", name, "down")
    start = ["--image", image] if image else []
    fleet("--fleet", name, "up", _NAME, *start, "--bind", f"{repository}:{REPOSITORY}")
    try:
        yield Host(name)
    finally:
        fleet("--fleet", name, "down")


def images() -> set[str]:
    """Names of the images there are."""
    return {line.split()[0] for line in fleet("images").splitlines() if line.strip()}


def base() -> str:
    """The name of the root file system that new hosts start from; made first when there is none."""
    fleet("base")
    return next(line.split()[1] for line in fleet("status").splitlines() if line.endswith("(current)"))


def fleet(*arguments: str) -> str:
    """Call fleet.py; answers what it printed.

    :raises BuildError: it says no.
    """
    answer = subprocess.run(
        [str(FLEET), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise BuildError(f"fleet.py {' '.join(arguments)}: {answer.stderr.strip()}")
    return answer.stdout
