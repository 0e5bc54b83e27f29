# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Import the package builder, and the gitlab_ctl that it installs on hosts, from where they lie."""

from __future__ import annotations

import sys
from pathlib import Path

MINI_GITLAB = Path(__file__).resolve().parents[2] / "mini_gitlab"

sys.path[:0] = [str(MINI_GITLAB), str(MINI_GITLAB / "package/root/opt/gitlab/embedded/lib")]
