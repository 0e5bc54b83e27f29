# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What to do about batched background migrations that are not finished, by their state and the version of GitLab."""

from __future__ import annotations

import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm import STATES
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import FIRST_WITH_TASK
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_state import FIRST_WITH_RETRY

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

# Of more than these a remedy does not write the ids out.
WRITTEN_OUT = 5

# What a state means that this collection does not know.
UNKNOWN = "a state that this collection does not know"


def known(state: str) -> bool:
    """Say whether this is one of GitLab's states."""
    return state in STATES.values()


def remedy(state: str, ids: t.Sequence[str], version: GitLabVersion | None) -> str:
    """Return what to do about the unfinished migrations of one state, as a clause with the exact tasks.

    ``version`` is None where only the database could be asked; then the instance may have everything.
    """
    it = "it" if len(ids) == 1 else "them"
    finalize = f"finish {it} at once ({_finalize(ids)})" if _has(version, FIRST_WITH_TASK) else None
    if state == "paused":
        return _either(f"resume {it} (bbm_state with state: active and migrations: {_listed(ids)})", finalize)
    if state == "active":
        return _either(f"wait for {it} (bbm_wait)", finalize)
    if state == "finalizing":
        return f"a finalize runs, or was interrupted: only another finalize resumes {it} ({_finalize(ids)})"
    if state == "failed":
        retry = f"retry {it} ({_retry(ids)})" if _has(version, FIRST_WITH_RETRY) else None
        if retry or finalize:
            return f"look at last_error, then {_either(*filter(None, (retry, finalize)))}"
        return (
            f"GitLab {version} can neither retry (from 14.3 on) nor finalize {it} (from 14.1 on):"
            " look for the error in /var/log/gitlab/sidekiq/current, and ask GitLab's support"
        )
    return "update the collection, or ask GitLab what it means"


def _has(version: GitLabVersion | None, since: tuple[int, int]) -> bool:
    return version is None or version.minor >= since


def _either(*ways: str | None) -> str:
    return " or ".join(way for way in ways if way)


def _finalize(ids: t.Sequence[str]) -> str:
    if len(ids) == 1:
        return f"bbm_finalize with migration: {ids[0]}"
    return f"bbm_finalize with {f'migrations: {_listed(ids)}' if len(ids) <= WRITTEN_OUT else 'all: true'}"


def _retry(ids: t.Sequence[str]) -> str:
    return f"bbm_retry with {f'migration: {ids[0]}' if len(ids) == 1 else 'all: true'}"


def _listed(ids: t.Sequence[str]) -> str:
    return f"[{', '.join(ids)}]" if len(ids) <= WRITTEN_OUT else "the ids in by_state of bbm_status"
