# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prepare a home directory for ansible-test, so that it needs nothing from the user's and leaves nothing there.

    ansible_test_home.py DIRECTORY

ansible-test makes virtual environments without pip, and downloads a bootstrap script from a host that machines behind a
package mirror often cannot reach. It looks in its cache first: pip_bootstrap.py is put there. It also hides the PIP_*
variables from pip, so these are written down as configuration.
"""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import typing as t
from pathlib import Path

BOOTSTRAP = Path(__file__).with_name("pip_bootstrap.py")

# ansible_test/_internal/python_requirements.py of the tested lines: the pip each of them pins.
PIP_VERSIONS = ("23.1.2", "24.2", "25.2")


def pip_settings(environment: t.Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings as its configuration file names them, from PIP_* variables."""
    return {
        name[len("PIP_") :].lower().replace("_", "-"): value.replace("%", "%%")
        for name, value in environment.items()
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"
    }


def prepare(home: Path, environment: t.Mapping[str, str]) -> None:
    """Write the bootstrap scripts and the two files that pip reads in a home directory."""
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in PIP_VERSIONS:
        shutil.copyfile(BOOTSTRAP, cache / f"get_pip_{version.replace('.', '_')}.py")
    settings = configparser.ConfigParser()
    settings["global"] = pip_settings(environment)
    (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    with (home / ".config" / "pip" / "pip.conf").open("w") as file:
        settings.write(file)
    for of_user in (Path.home() / ".config" / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf"):
        if of_user.is_file():
            (home / ".pip").mkdir(exist_ok=True)
            shutil.copyfile(of_user, home / ".pip" / "pip.conf")
            break


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    prepare(Path(sys.argv[1]), os.environ)
