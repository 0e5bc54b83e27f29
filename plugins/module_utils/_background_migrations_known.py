# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What GitLab's documents say of single background migrations: those that stick, and what to do about each.

From "Background migrations stuck in 'pending' state" of https://docs.gitlab.com/update/background_migrations/ and from
the notes on each version in https://docs.gitlab.com/update/versions/gitlab_14_changes/.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

Minor = t.Tuple[int, int]

# From 15.1 on every background migration is batched.
LAST_WITH_BACKGROUND_MIGRATIONS: Minor = (15, 0)

_NOTES = "https://docs.gitlab.com/update/versions/gitlab_14_changes/"


class Stuck(t.NamedTuple):
    """A non-batched migration whose tracked rows can stay pending for ever.

    The documented remedy is the same for all: C(BackgroundMigrationJob.mark_all_as_succeeded) for each pending row.
    """

    class_name: str
    since: Minor
    why: str

    @property
    def documentation(self) -> str:
        """Where GitLab says so."""
        return f"{_NOTES}#{self.since[0]}{self.since[1]}0"

    @property
    def remedy(self) -> str:
        """The option of the module that applies it."""
        return f"apply_remedies: [{self.class_name}]"

    def to_dict(self) -> dict[str, str]:
        """Return what the result of the module says of it."""
        return {
            "since": f"{self.since[0]}.{self.since[1]}",
            "why": self.why,
            "remedy": self.remedy,
            "documentation": self.documentation,
        }


_NO_RECORDS = "stays pending when the instance has no record that it is about"

STUCK: t.Mapping[str, Stuck] = {
    one.class_name: one
    for one in (
        Stuck("BackfillDraftStatusOnMergeRequests", (14, 2), _NO_RECORDS),
        Stuck("PopulateTopicsTotalProjectsCountCache", (14, 4), _NO_RECORDS),
        Stuck("UpdateVulnerabilityOccurrencesLocation", (14, 5), _NO_RECORDS),
        Stuck("PopulateTopicsNonPrivateProjectsCount", (14, 8), "stays pending"),
        Stuck("ResetDuplicateCiRunnersTokenValuesOnProjects", (14, 9), _NO_RECORDS),
    )
}


class Deadline(t.NamedTuple):
    """A non-batched migration that a later version finishes in its own db:migrate, which can take hours."""

    class_name: str
    before: Minor


DEADLINES: t.Mapping[str, Deadline] = {
    one.class_name: one for one in (Deadline("MigrateMergeRequestDiffCommitUsers", (14, 5)),)
}


class Ignorable(t.NamedTuple):
    """A batched migration whose failure in one version is a defect of that version, mended by the next."""

    job_class_name: str
    version: Minor
    mended_in: Minor

    @property
    def text(self) -> str:
        """What an operator is to know."""
        mended = f"{self.mended_in[0]}.{self.mended_in[1]}"
        return (
            f"its failure is a defect of GitLab {self.version[0]}.{self.version[1]} and can be ignored until {mended};"
            f" retry it there (bbm_retry)"
        )


# https://gitlab.com/gitlab-org/gitlab/-/issues/357822
_IGNORABLE = (Ignorable("BackfillNamespaceIdForNamespaceRoute", (14, 8), (14, 9)),)


def has_ignorable(version: GitLabVersion) -> bool:
    """Say whether there is any in this version."""
    return any(version.minor == one.version for one in _IGNORABLE)


def ignorable(job_class_name: str, state: str, version: GitLabVersion | None) -> Ignorable | None:
    """Return what allows an upgrade to go on past a batched migration that has failed, if anything does."""
    for one in _IGNORABLE:
        if (job_class_name, state) == (one.job_class_name, "failed") and version and version.minor == one.version:
            return one
    return None
