# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that GitLab removed from gitlab.rb (procedures 7.5), and which of them a configuration still holds."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from gitlab_ctl.release import VersionPair, format_series

_REMOVED: t.Mapping[VersionPair, tuple[tuple[str, ...], ...]] = {
    (14, 0): (
        ("unicorn",),
        ("repmgr",),
        ("repmgrd",),
        ("sidekiq_cluster",),
        ("sidekiq", "cluster"),
        ("nginx", "gzip"),
        ("gitlab_pages", "http_proxy"),
        ("gitlab_pages", "domain_config_source"),
    ),
    (14, 3): (("gitlab_pages", "use_legacy_storage"),),
    (15, 0): (
        ("gitaly", "internal_socket_dir"),
        ("gitlab_shell", "custom_hooks_dir"),
        ("actioncable", "enable"),
        ("praefect", "database_host_no_proxy"),
        ("praefect", "database_port_no_proxy"),
    ),
    (15, 1): (("gitaly", "ruby_rugged_git_config_search_path"),),
    (15, 5): (("gitlab_rails", "enable_jemalloc"),),
    (16, 0): (
        ("praefect", "listen_addr"),
        ("praefect", "virtual_storages"),
        ("praefect", "database_host"),
        ("gitlab_rails", "gitlab_default_can_create_group"),
    ),
    (16, 3): (("grafana",),),
    (17, 0): (
        ("gitaly", "listen_addr"),
        ("gitaly", "storage"),
        ("sidekiq", "queue_selector"),
        ("sidekiq", "negate"),
        ("sidekiq", "min_concurrency"),
        ("sidekiq", "max_concurrency"),
        ("omnibus_gitconfig",),
    ),
    (17, 1): (("postgres_exporter", "per_table_stats"),),
    (18, 0): (("git_data_dirs",), ("gitlab_shell", "migration")),
    (19, 0): (("mattermost",), ("spamcheck",)),
}


@dataclass(frozen=True)
class Removal:
    """A key that a configuration holds and `series` no longer knows."""

    path: tuple[str, ...]
    series: VersionPair

    @property
    def text(self) -> str:
        name = self.path[0] + "".join(f"['{key}']" for key in self.path[1:])
        return f"* {name} was removed in {format_series(self.series)}."


def find_removals(values: t.Mapping[str, t.Any], target: VersionPair, installed: VersionPair) -> list[Removal]:
    """The removed keys in `values` for an upgrade to `target`.

    A package knows the removals announced up to its next major and none beyond: an installed 14.0 cannot warn of 16.0.
    """
    known_until = (installed[0] + 1, 0)
    return [
        Removal(path, series)
        for series, paths in sorted(_REMOVED.items())
        if series <= target and series <= known_until
        for path in paths
        if _holds(values, path)
    ]


def _holds(values: t.Any, path: t.Sequence[str]) -> bool:
    for key in path:
        if not isinstance(values, t.Mapping) or key not in values:
            return False
        values = values[key]
    return True
