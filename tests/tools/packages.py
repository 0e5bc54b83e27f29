# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install the Debian packages that are missing.

    packages.py LIST...    files with one package a line; # begins a comment

Without root, or on another system, nothing is installed and the message says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def read(lists: list[str]) -> list[str]:
    """Return the names in the lists, sorted, each once."""
    lines = (line.partition("#")[0].strip() for name in lists for line in Path(name).read_text().splitlines())
    return sorted({line for line in lines if line})


def missing(packages: list[str]) -> list[str]:
    """Return the packages that dpkg does not call installed."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages]
    answer = subprocess.run(query, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    installed = {line.split()[0] for line in answer.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def apt_get(*arguments: str) -> None:
    """Run apt-get so that it never asks and waits for another apt instead of failing."""
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", *arguments]
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    )


def main(lists: list[str]) -> int:
    packages = read(lists)
    if not shutil.which("dpkg-query"):
        print(
            f"Not a Debian system: make sure that these programs are there yourself: {' '.join(packages)}",
            file=sys.stderr,
        )
        return 0
    wanted = missing(packages)
    if not wanted:
        return 0
    if os.geteuid() != 0:
        print(
            f"Missing packages. Install them, then run this again:\n    sudo apt-get install {' '.join(wanted)}",
            file=sys.stderr,
        )
        return 1
    print(f"Installing {' '.join(wanted)}")
    apt_get("update")
    apt_get("install", "--yes", "--no-install-recommends", *wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
