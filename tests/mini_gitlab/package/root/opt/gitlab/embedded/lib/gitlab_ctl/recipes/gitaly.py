# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that stands where Gitaly stands: it keeps the service's place in status, start and stop, and serves nothing."""

from __future__ import annotations

from gitlab_ctl import layout
from gitlab_ctl.recipes import rails, runit
from gitlab_ctl.resources import Converge


def enable(run: Converge) -> None:
    run.recipe("gitaly::enable")
    command = f"exec chpst -u {rails.USER}:{rails.USER} {layout.EMBEDDED}/bin/gitaly-stand-in"
    runit.enable(run, runit.Service("gitaly", command))
