# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The job that reads a backup from end to end, which can take hours."""

from __future__ import annotations

import json
import os
import sys
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
    ConfigurationContents,
    Contents,
    Progress,
    read_archive,
    read_configuration,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_space import in_bytes
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

# How often a line of progress is printed.
LINE_SECONDS = 10

# The exit status when a file is not there, or cannot be read. Any other than 0 says nothing against the backup.
UNREADABLE = 3

Found = t.Tuple[Contents, t.Optional[ConfigurationContents]]


def main(arguments: t.Sequence[str]) -> None:
    """Read the archive and the archive of the configuration ("" for none), and write what is in them to a file."""
    archive, configuration, result = arguments
    try:
        text = dump(*read(archive, configuration, _printer()))
    except GitLabError as error:
        # The one way out of a process that is no module.
        sys.stderr.write(f"{error}\n")
        raise SystemExit(UNREADABLE) from error
    with open(f"{result}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{result}.new", result)


def read(archive: str, configuration: str, progress: Progress) -> Found:
    """Read both archives.

    :raises GitLabError: one cannot be read.
    """
    return read_archive(archive, progress), read_configuration(configuration) if configuration else None


def dump(contents: Contents, configuration: ConfigurationContents | None) -> str:
    """Return both as JSON."""
    found = {"archive": contents.to_dict(), "configuration": configuration and configuration.to_dict()}
    return json.dumps(found)


def load(text: str) -> Found:
    """Read what :func:`dump` returned."""
    found = json.loads(text)
    configuration = found["configuration"]
    return Contents.from_dict(found["archive"]), configuration and ConfigurationContents.from_dict(configuration)


def _printer() -> Progress:
    said = time.monotonic()

    def say(done: int, size: int, what: str) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            percent = 100 * done // size if size else 100
            sys.stdout.write(f"verify  {percent} %  {in_bytes(done)} of {in_bytes(size)}  {what}\n")
            sys.stdout.flush()

    return say
