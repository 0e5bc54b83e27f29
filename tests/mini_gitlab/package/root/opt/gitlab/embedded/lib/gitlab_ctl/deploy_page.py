# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl deploy-page`: the "Deploy in progress" page (facts 5.6)."""

from __future__ import annotations

import shutil
import sys
import typing as t

from gitlab_ctl import layout

_SOURCE = layout.PUBLIC / "deploy.html"
_SHOWN = layout.PUBLIC / "index.html"


def main(arguments: t.Sequence[str]) -> int:
    action = arguments[0] if arguments else None
    if action == "up":
        print(f"cp {_SOURCE} {_SHOWN}", file=sys.stderr)
        shutil.copyfile(_SOURCE, _SHOWN)
    elif action == "down":
        print(f"rm -f {_SHOWN}", file=sys.stderr)
        _SHOWN.unlink(missing_ok=True)
    elif action == "status":
        print(f"Deploy page is {'up' if _SHOWN.exists() else 'down'}")
    else:
        print("Usage: deploy-page up|down|status")
    return 0
