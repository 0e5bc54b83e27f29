# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl restart-except` (17.2 on; facts 5.6)."""

from __future__ import annotations

import sys
import typing as t

from gitlab_ctl import services


def main(excluded: t.Sequence[str]) -> int:
    if not excluded:
        print("Please provide services to exclude from restart", file=sys.stderr)
        return 1
    enabled = [name for name in services.known() if services.is_enabled(name)]
    for name in excluded:
        if name not in enabled:
            print(f"Service '{name}' not found", file=sys.stderr)
            return 1
    print(f"Restarting all services except: {', '.join(excluded)}.", flush=True)
    return services.run_all("restart", [name for name in enabled if name not in excluded])
