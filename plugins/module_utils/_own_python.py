# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Runs a module util of this collection as a job, which outlives the module that started it."""

from __future__ import annotations

import os
import shutil
import sys
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

_PACKAGE = "ansible_collections.gitlab_fleet.upgrade.plugins.module_utils"
_START = f"import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module(f'{_PACKAGE}.{{sys.argv[2]}}').main(sys.argv[3:])"


def place(path: str) -> str:
    """Return where a job finds the code of this run: ``path``, once :func:`keep_code` has put it there.

    Code that did not come in a zip file stays where it is.
    """
    if _archive():
        return path
    inside = _PACKAGE.replace(".", os.sep)
    return next(folder for folder in sys.path if os.path.isdir(os.path.join(folder, inside)))


def keep_code(path: str) -> None:
    """Keep the code of this run for a job. Ansible sends a module and its utils as one zip file, and removes it at the end.

    :raises GitLabError: the copy cannot be written.
    """
    archive = _archive()
    if archive is None:
        return
    try:
        shutil.copyfile(archive, f"{path}.new")
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise GitLabError(
            f"Cannot write {path}: {error.strerror}.", "Run as root (become: true) and check the free space there."
        ) from error


def command(code: str, util: str, arguments: t.Sequence[str]) -> list[str]:
    """Return the command that calls C(main(arguments)) of a module util, with the code at :func:`place`."""
    return [sys.executable, "-c", _START, code, util, *arguments]


def _archive() -> str | None:
    archive: str | None = getattr(globals().get("__loader__"), "archive", None)
    return archive
