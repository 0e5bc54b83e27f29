# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl upgrade-check OLD NEW`: may this package replace that version? (facts 5.3)."""

from __future__ import annotations

import os
import sys

from gitlab_ctl import layout
from gitlab_ctl.release import Release, format_series, parse_series


def main(old: str, new: str) -> int:
    """Silent and 0 when allowed; the reason on stderr and 1 when not."""
    reason = find_refusal(layout.installed_release(), old, new, os.environ.get("MIN_VERSION"))
    for line in reason:
        print(line, file=sys.stderr)
    return 1 if reason else 0


def find_refusal(installed: Release, old: str, new: str, minimum_override: str | None = None) -> list[str]:
    """The lines that refuse the jump, or none.

    Up to 16.3 only a jump to another major counts, and then the old minor must be exactly the minimum. From 16.4 any older version
    is refused; `new` only shapes the text.
    """
    minimum = parse_series(minimum_override) if minimum_override else installed.oldest_predecessor
    before, after = parse_series(old), parse_series(new)
    is_major = before[0] != after[0]
    if installed.checks_every_jump:
        if before >= minimum:
            return []
        first = f"It seems you are upgrading from {old} to {new}."
    else:
        if not is_major or before == minimum:
            return []
        first = f"It seems you are upgrading from major version {before[0]} to major version {after[0]}."
    return [
        first,
        f"It is required to upgrade to the latest {format_series(minimum)}.x version first before proceeding.",
        f"Please follow the upgrade documentation at {_documentation(installed, is_major)}",
    ]


def _documentation(installed: Release, is_major: bool) -> str:
    if not installed.checks_every_jump:
        return "https://docs.gitlab.com/ee/update/index.html#upgrade-paths"
    if is_major:
        return "https://docs.gitlab.com/ee/update/index.html#upgrading-to-a-new-major-version"
    return "https://docs.gitlab.com/ee/update/#upgrade-paths"
