# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give pip to an empty virtual environment, from what Python carries and the package index.

ansible-test imports this module inside that environment in place of the script it would download, with the packages
to install as arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys

_OF_THE_ORIGINAL = ("--no-setuptools", "--no-wheel")


def main():  # type: () -> None
    """Raise CalledProcessError, as ansible-test expects of a failed bootstrap."""
    environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}
    packages = [argument for argument in sys.argv[1:] if argument not in _OF_THE_ORIGINAL]
    subprocess.check_call(
        [sys.executable, "-m", "ensurepip", "--default-pip"], env=environment, stdout=subprocess.DEVNULL
    )
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *packages], env=environment)


main()
