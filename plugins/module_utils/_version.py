# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

_PRE = (0, 0)
_RC = 1
_RELEASE = (2, 0)

# The VERSION file, tags, deb and rpm versions and package names: 16.11.10-ee, v16.4.3-ee, 18.0.0-rc1,
# 16.11.10-ee.0, gitlab-ee=16.11.10-ee.0, gitlab-ce-16.11.10-ce.0.el9, 18.0.0+rc42.ee.0.
_VERSION = re.compile(
    r"(?:gitlab(?:-(?P<package>[ce]e))?[ =_-]|v)?"
    r"(?P<major>\d{1,4})\.(?P<minor>\d{1,4})\.(?P<patch>\d{1,14})"
    r"(?:[-+~.](?:(?P<pre>pre)|rc(?P<rc>\d{1,4})))?"
    r"(?:[-+.](?P<edition>[ce]e)(?:\.\d{1,4}(?:[.~_][\w.]{1,32})?)?)?\Z",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, order=True)
class GitLabVersion:
    """One version of GitLab, in the order in which releases follow each other.

    A pre version comes before the release candidates, these before the release. Edition and package build do not count
    in comparisons: the VERSION file, a package and a backup spell the same version differently.
    """

    major: int
    minor_number: int
    patch: int
    # (0, 0) pre, (1, n) release candidate n, (2, 0) release.
    stage: tuple[int, int] = _RELEASE
    # "ee", "ce", or None where the text does not say: the VERSION file of a CE and a bare version look the same.
    edition: str | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str) -> GitLabVersion:
        """Read any spelling that GitLab, its packages and its backups use.

        :raises GitLabError: it is not a full version of three numbers, or it names two editions.
        """
        match = _VERSION.match(text.strip()) if isinstance(text, str) else None
        if not match:
            raise GitLabError(f"{text!r} is not a version of GitLab.", "Give all three numbers, for example 16.11.10.")
        editions = {name.lower() for name in match.group("package", "edition") if name}
        if len(editions) > 1:
            raise GitLabError(f"{text!r} names two editions of GitLab.", "Give one, for example 16.11.10-ee.0.")
        stage = _PRE if match.group("pre") else _RELEASE
        if match.group("rc"):
            stage = (_RC, int(match.group("rc")))
        major, minor, patch = (int(number) for number in match.group("major", "minor", "patch"))
        return cls(major, minor, patch, stage, editions.pop() if editions else None)

    @property
    def minor(self) -> tuple[int, int]:
        """The pair that required stops are given in, such as C((16, 11))."""
        return (self.major, self.minor_number)

    @property
    def release(self) -> tuple[int, int, int]:
        """The three numbers, such as C((16, 11, 10))."""
        return (self.major, self.minor_number, self.patch)

    @property
    def is_release(self) -> bool:
        """False for a pre version and for a release candidate."""
        return self.stage == _RELEASE

    def __str__(self) -> str:
        parts = [".".join(str(number) for number in self.release)]
        if not self.is_release:
            parts.append("pre" if self.stage == _PRE else f"rc{self.stage[1]}")
        if self.edition:
            parts.append(self.edition)
        return "-".join(parts)
