# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the rules of this collection that no general tool knows: python -m ansible_collections.gitlab_fleet.upgrade.tests.checks [ROOT]."""

from __future__ import annotations

import sys
from pathlib import Path

from . import files, links, modules, roles


def main(root: Path) -> int:
    problems = [*files.check(root), *links.check(root), *modules.check(root), *roles.check(root)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else ".").resolve()))
