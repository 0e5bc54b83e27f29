# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images: which versions a host has gone through, and how its gitlab.rb lays out the databases. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from .source import BuildError

_NAME = re.compile(
    r"gitlab-(?P<versions>[\d.]+(?:-to-[\d.]+)*)"
    r"(?:-(?P<layout>single-database|two-connections|two-databases))?"
    r"(?P<db_only>-db-only)?"
)

_LAYOUTS: t.Mapping[str | None, str] = {
    None: "",
    "single-database": "gitlab_rails['databases']['ci']['enable'] = false\n",
    "two-connections": "gitlab_rails['databases']['ci']['enable'] = true\n",
    "two-databases": (
        "gitlab_rails['databases']['ci']['enable'] = true\n"
        "gitlab_rails['databases']['ci']['db_database'] = 'gitlabhq_production_ci'\n"
    ),
}

_DB_ONLY = """\
gitlab_rails['enable'] = false
redis['enable'] = false
gitaly['enable'] = false
postgresql['listen_address'] = '0.0.0.0'
postgresql['trust_auth_cidr_addresses'] = %w[198.18.0.0/15]
"""


@dataclass(frozen=True)
class Spec:
    """An image of a host that was installed with the first version and upgraded through the others.

    :ivar layout: how many databases; None leaves it to the version's default.
    :ivar db_only: the host serves PostgreSQL to others and runs no Rails.
    """

    versions: tuple[str, ...]
    layout: str | None = None
    db_only: bool = False

    @property
    def name(self) -> str:
        layout = f"-{self.layout}" if self.layout else ""
        return f"gitlab-{'-to-'.join(self.versions)}{layout}{'-db-only' if self.db_only else ''}"

    @property
    def predecessor(self) -> Spec | None:
        """The image before the last upgrade, or None for a fresh install."""
        return replace(self, versions=self.versions[:-1]) if len(self.versions) > 1 else None

    @property
    def gitlab_rb(self) -> str:
        """The configuration file, before the first reconfigure."""
        return f"external_url 'http://gitlab.example.com'\n{_LAYOUTS[self.layout]}{_DB_ONLY if self.db_only else ''}"


def parse(name: str, known: t.Sequence[str]) -> Spec:
    """The image that a name like ``gitlab-14.0.12-to-14.2.7-two-databases`` stands for.

    :raises BuildError: the name has another form, or a version in it is not among `known`.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise BuildError(
            f"{name!r} is no image: use gitlab-VERSION[-to-VERSION...][-single-database|-two-connections|-two-databases][-db-only]"
        )
    versions = tuple(match["versions"].split("-to-"))
    for version in versions:
        if version not in known:
            raise BuildError(f"there is no version {version}: the application has {', '.join(known)}")
    return Spec(versions, match["layout"], bool(match["db_only"]))
