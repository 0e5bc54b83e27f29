# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the application's tree that replays may change."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from .cluster import OWNER, PORT, PORT_OF_NOBODY

WRAPPERS = {
    "gitlab-rake": '#!/bin/sh\ncd "{folder}" && exec rake "$@"\n',
    "sudo": '#!/bin/sh\nexec "$@"\n',
}


class Application:
    """The tree in `folder`, copied from an assembled one."""

    def __init__(self, assembled: Path, folder: Path, socket: Path) -> None:
        self.folder = folder
        self.socket = socket
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(assembled, folder)
        self.wrappers = folder / "wrappers"
        self.wrappers.mkdir()
        for name, text in WRAPPERS.items():
            path = self.wrappers / name
            path.write_text(text.format(folder=folder))
            path.chmod(0o755)

    def configure(self, databases: dict[str, str], *, shared: bool = False, down: bool = False) -> None:
        """Writes database.yml: names of connections to names of databases."""
        lines = ["production:"]
        for name, database in databases.items():
            settings: dict[str, t.Any] = {
                "adapter": "postgresql",
                "encoding": "unicode",
                "database": database,
                "username": OWNER,
                "host": self.socket,
                "port": PORT_OF_NOBODY if down else PORT,
            }
            if shared and name == "ci":
                settings["database_tasks"] = "false"
            lines += [f"  {name}:", *(f"    {key}: {value}" for key, value in settings.items())]
        (self.folder / "config/database.yml").write_text("\n".join(lines) + "\n")

    def ship_migrations(self, files: dict[str, str]) -> None:
        """Replaces all migration files: path to content."""
        for folder in ("db/migrate", "db/post_migrate"):
            shutil.rmtree(self.folder / folder)
            (self.folder / folder).mkdir()
        for path, text in files.items():
            (self.folder / path).write_text(text)

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("LANG", "HOME") if name in os.environ}
        path = f"{self.wrappers}:/usr/local/bin:/usr/bin:/bin"
        return {**inherited, "PATH": path, "LC_ALL": "C.UTF-8", "RAILS_ENV": "production", **(extra or {})}

    def command(self, recorded: list[str]) -> list[str]:
        """The recorded command as it is called here."""
        if recorded[0] == "gitlab-rails":
            return ["ruby", "bin/rails", *recorded[1:]]
        if recorded[0] == "gitlab-rails-runner":
            return ["ruby", "bin/rails", "runner", *recorded[1:]]
        return recorded
