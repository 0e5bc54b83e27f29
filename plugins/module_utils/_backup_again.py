# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What to think of a backup that was verified before. Decides, reads nothing.

The instance goes on: after an upgrade its version, schema and secrets are others, and the backup from before is what a
rollback needs. So only the files count here, and what was found out of them then still holds.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import (
    FILES,
    Check,
    Manifest,
    changed_since,
)

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_archive import (
        ConfigurationContents,
        Contents,
    )


def judge(former: Manifest, contents: Contents, configuration: ConfigurationContents | None, now: str) -> Manifest:
    """Return the manifest of a backup by its files of today; ``now`` is the moment, in ISO 8601."""
    wrong = differences(former, contents, configuration)
    if wrong:
        return spoiled(former, " ".join(wrong), now)
    saved = former.configuration
    whole = replace(
        former,
        # They may have been moved.
        archive=contents.archive,
        configuration=replace(saved, path=configuration.archive.path) if saved and configuration else saved,
        checks=_others(former),
        verified=True,
    )
    return whole if whole == former else replace(whole, verified_at=now)


def spoiled(former: Manifest, why: str, now: str) -> Manifest:
    """Return the manifest of a backup whose files are not those that were verified.

    What was known of them is kept: it holds again when they are brought back.
    """
    return replace(former, checks=(*_others(former), Check(FILES, False, why)), verified=False, verified_at=now)


def differences(former: Manifest, contents: Contents, configuration: ConfigurationContents | None) -> list[str]:
    """Return how the files of a backup differ from those that were verified, and how they are damaged."""
    wrong = [changed_since(former.archive, contents.archive)]
    dumps = [one.dump for one in former.databases]
    wrong += [
        f"{name or contents.archive.path}: {text}."
        for name, text in contents.problems.items()
        # A dump of no database of the instance did not count then either.
        if name in dumps or not name.startswith("db/")
    ]
    if former.configuration:
        wrong.append(changed_since(former.configuration, configuration.archive if configuration else None))
        if configuration and configuration.problem:
            wrong.append(f"{configuration.archive.path}: {configuration.problem}.")
    return [text for text in wrong if text]


def _others(manifest: Manifest) -> tuple[Check, ...]:
    return tuple(one for one in manifest.checks if one.name != FILES)
