# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t
from dataclasses import dataclass

OMNIBUS = "omnibus"
SOURCE = "source"


@dataclass(frozen=True)
class Installation:
    """Where one installation's commands and files are; builds argv lists and runs nothing.

    Paths: https://docs.gitlab.com/omnibus/ for the Linux package, the installation page for a self-compiled one.
    """

    install_type: str
    rails_root: str
    database_config: str

    @classmethod
    def create(cls, install_type: str, rails_root: str | None = None) -> Installation:
        """Return the installation of ``install_type`` (C(omnibus) or C(source)) with its usual paths."""
        if install_type == SOURCE:
            root = rails_root or "/home/git/gitlab"
            return cls(SOURCE, root, f"{root}/config/database.yml")
        root = rails_root or "/opt/gitlab/embedded/service/gitlab-rails"
        return cls(OMNIBUS, root, "/var/opt/gitlab/gitlab-rails/etc/database.yml")

    @property
    def version_file(self) -> str:
        """The file that holds the version of the installed code, such as C(14.2.7-ee)."""
        return f"{self.rails_root}/VERSION"

    @property
    def working_directory(self) -> str | None:
        """Where commands must be started, or None where it does not matter."""
        return self.rails_root if self.install_type == SOURCE else None

    def rake(self, task: str) -> list[str]:
        """Return the command that runs one Rake task; ``task`` comes from :mod:`_rake`."""
        if self.install_type == SOURCE:
            return ["sudo", "-u", "git", "-H", "bundle", "exec", "rake", task, "RAILS_ENV=production"]
        return ["/opt/gitlab/bin/gitlab-rake", task]

    def backup(self, action: str, settings: t.Mapping[str, str]) -> list[str]:
        """Return the command that creates or restores a backup; ``action`` is C(create) or C(restore).

        The settings are those of GitLab's page on backups, such as C(BACKUP). None may hold a blank: the program of the
        Linux package passes them on without quotes.
        """
        variables = [f"{name}={value}" for name, value in settings.items()]
        if self.install_type == SOURCE:
            return [*self.rake(f"gitlab:backup:{action}"), *variables]
        return ["/opt/gitlab/bin/gitlab-backup", action, *variables]

    def runner(self, code: str, *arguments: str) -> list[str]:
        """Return the command that runs Ruby inside GitLab; ``arguments`` arrive in Ruby's ARGV."""
        prefix = ["/opt/gitlab/bin/gitlab-rails"]
        if self.install_type == SOURCE:
            prefix = ["sudo", "-u", "git", "-H", "bundle", "exec", "rails"]
        return [*prefix, "runner", "-e", "production", code, *arguments]

    def ctl(self, *arguments: str) -> list[str]:
        """Return a C(gitlab-ctl) command (Linux package only)."""
        return ["/opt/gitlab/bin/gitlab-ctl", *arguments]

    def psql(self, dbname: str) -> list[str]:
        """Return a psql command that reads SQL from stdin and prints bare values, one row a line."""
        prefix = ["/opt/gitlab/bin/gitlab-psql"]
        if self.install_type == SOURCE:
            prefix = ["sudo", "-u", "git", "-H", "psql"]
        # A pager waits for ever where there is a terminal (ansible's raw asks for one).
        return [*prefix, "-X", "-q", "-t", "-A", "-P", "pager=off", "-v", "ON_ERROR_STOP=1", "-d", dbname, "-f", "-"]
