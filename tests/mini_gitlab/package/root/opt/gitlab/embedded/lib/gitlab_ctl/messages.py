# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the commands of `gitlab-ctl` say what they do (facts 5.4)."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    print(line, flush=True)


def complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def progress(label: str, ok: bool) -> bool:
    """Say how a step ended, and answer it. Carriage returns and colours come without a terminal too."""
    colour, word = ("32", "OK") if ok else ("31", "NOT OK")
    say(f"\r{label}:\r{label}: \x1b[{colour}m{word}\x1b[0m")
    return ok
