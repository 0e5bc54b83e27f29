# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between GitLab releases in the Linux package itself (facts: Omnibus tags 13.11.7 .. 19.3.0).

Pure. The package builder fills its hooks from here, and `gitlab-ctl` asks the same table on the host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VersionPair = tuple[int, int]

# First series -> (oldest series it may replace, oldest PostgreSQL major GitLab's own package accepts).
_MINIMUMS: tuple[tuple[VersionPair, VersionPair, int], ...] = (
    ((13, 11), (13, 0), 11),
    ((14, 0), (13, 12), 12),
    ((14, 1), (14, 0), 12),
    ((15, 0), (14, 10), 12),
    ((15, 1), (15, 0), 12),
    ((16, 0), (15, 11), 13),
    ((16, 4), (16, 3), 13),
    ((16, 8), (16, 7), 13),
    ((17, 0), (16, 11), 14),
    ((17, 4), (17, 3), 14),
    ((17, 6), (17, 5), 14),
    ((17, 9), (17, 8), 14),
    ((18, 0), (17, 11), 16),
    ((18, 3), (18, 2), 16),
    ((18, 6), (18, 5), 16),
    ((18, 9), (18, 8), 16),
    ((19, 0), (18, 11), 17),
    ((19, 3), (19, 2), 17),
)

_POSTGRESQL_UPGRADES: tuple[tuple[VersionPair, VersionPair], ...] = (
    ((13, 11), (14, 10)),
    ((15, 11), (16, 1)),
    ((16, 11), (16, 11)),
    ((17, 11), (17, 11)),
    ((18, 11), (18, 11)),
)

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class Release:
    """One release, for example `Release("14.0.12")`.

    :raises ValueError: the text is not `major.minor.patch`, or older than this table.
    """

    version: str

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.version):
            raise ValueError(f"{self.version!r} is not a GitLab version of the form 14.0.12")
        if self.series < _MINIMUMS[0][0]:
            raise ValueError(
                f"GitLab {self.version} is older than {format_series(_MINIMUMS[0][0])}, the first one known here"
            )

    @property
    def series(self) -> VersionPair:
        return parse_series(self.version)

    @property
    def _minimums(self) -> tuple[VersionPair, VersionPair, int]:
        return max(row for row in _MINIMUMS if row[0] <= self.series)

    @property
    def oldest_predecessor(self) -> VersionPair:
        """The package's MIN_VERSION: the hooks refuse an older installed one (facts 5.3)."""
        return self._minimums[1]

    @property
    def oldest_postgresql(self) -> int:
        """The package's PG_MIN, a PostgreSQL major version (facts 5.3)."""
        return self._minimums[2]

    @property
    def upgrades_postgresql(self) -> bool:
        """Whether the post-install step tries `pg-upgrade` by itself (facts 5.3)."""
        return any(first <= self.series <= last for first, last in _POSTGRESQL_UPGRADES)

    @property
    def checks_every_jump(self) -> bool:
        """From 16.4 a jump inside one major is refused too (facts 5.3)."""
        return self.series >= (16, 4)

    @property
    def checks_legacy_storage(self) -> bool:
        return (14, 0) <= self.series <= (16, 4)

    @property
    def may_skip_config_check(self) -> bool:
        """/etc/gitlab/skip-fail-config-check and `check-config --no-fail` (facts 5.2)."""
        return self.series >= (18, 2)

    @property
    def has_restart_except(self) -> bool:
        return self.series >= (17, 2)

    @property
    def keeps_service_wait(self) -> bool:
        """Up to 19.0 SVWAIT is always 30; later the environment wins (facts 5.1)."""
        return self.series < (19, 1)

    @property
    def malformed_node_fails(self) -> bool:
        """A half-written node file stops `check-config` up to 19.2 (facts 5.3)."""
        return self.series < (19, 3)

    @property
    def names_main_database(self) -> bool:
        """From here on database.yml names its databases; before, production was one flat entry [inferred]."""
        return self.series >= (14, 3)

    @property
    def connects_to_ci(self) -> bool:
        """From 16.0 database.yml has main and ci on one database by default (facts 1.6)."""
        return self.series >= (16, 0)

    @property
    def hides_migration_output(self) -> bool:
        """14.10-15.4 declare the migration resource sensitive (facts 5.5)."""
        return (14, 10) <= self.series <= (15, 4)

    @property
    def migration_resource(self) -> tuple[str, int]:
        """Name and recipe line of the resource that runs the migrations (facts 5.5)."""
        if self.series < (15, 1):
            return "bash[migrate gitlab-rails database]", 16
        if self.series < (15, 5):
            return "bash[migrate gitlab-rails database]", 18
        return "bash_hide_env[migrate gitlab-rails database]", 18 if self.series < (16, 0) else 20

    @property
    def runs_cinc(self) -> bool:
        """Newer packages converge with Cinc, whose closing line differs (facts 5.5; the exact release is inferred)."""
        return self.series >= (16, 0)


def parse_series(version: str) -> VersionPair:
    """Major and minor of `14.0.12`, `16.11`, `16.0.1-ee`.

    :raises ValueError: no version at the start of the text.
    """
    match = re.match(r"(\d+)\.(\d+)", version)
    if not match:
        raise ValueError(f"no GitLab version in {version!r}")
    return int(match[1]), int(match[2])


def format_series(series: VersionPair) -> str:
    return f"{series[0]}.{series[1]}"
