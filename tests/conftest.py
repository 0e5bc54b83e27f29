# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all levels of tests share: the collection is importable wherever this checkout lies, and no test depends on the machine."""

from __future__ import annotations

import signal
import sys
import types
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
PLACE = ("ansible_collections", "gitlab_fleet", "upgrade")


def make_importable() -> None:
    """Import from the path when the checkout lies where Ansible wants it, else give each name the folder it stands for."""
    if ROOT.parts[-len(PLACE) :] == PLACE:
        sys.path.insert(0, str(ROOT.parents[len(PLACE) - 1]))
        return
    for depth, folders in enumerate(([], [], [str(ROOT)]), 1):
        package = types.ModuleType(".".join(PLACE[:depth]))
        package.__path__ = folders
        sys.modules[package.__name__] = package


make_importable()

# A shell without job control lets what it starts in the background ignore Ctrl-C, and that is inherited to the last process.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Other work on the machine makes any example slow; that says nothing of the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
