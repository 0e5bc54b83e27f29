# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t

from ansible.module_utils.common.locale import get_best_parsable_locale

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class CommandResult(t.NamedTuple):
    """What a command left behind. ``rc`` alone proves nothing with GitLab's tools."""

    argv: list[str]
    rc: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams: GitLab prints errors on either."""
        return f"{self.stdout}\n{self.stderr}"


class Runner(t.Protocol):
    """Runs an argv list on the host and returns when it ends."""

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Raise :class:`GitLabError` when the command cannot be started."""


class ModuleRunner:
    """Runs commands by ``AnsibleModule.run_command`` and remembers them for the result."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        # A UTF-8 locale, or Ruby reads its arguments as US-ASCII.
        locale = get_best_parsable_locale(module, preferences=["C.utf8", "C.UTF-8", "en_US.utf8", "C", "POSIX"])
        self._environment = {"LANGUAGE": locale, "LC_ALL": locale}
        self.commands: list[list[str]] = []

    def run(
        self,
        argv: t.Sequence[str],
        stdin: str | None = None,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> CommandResult:
        command = list(argv)
        self.commands.append(command)
        environment = dict(self._environment, **(env or {}))
        try:
            rc, stdout, stderr = self._module.run_command(
                command,
                data=stdin,
                binary_data=True,
                cwd=cwd,
                environ_update=environment,
                # Rake arguments and SQL hold $ and ~.
                expand_user_and_vars=False,
                handle_exceptions=False,
            )
        except OSError as error:
            raise GitLabError(
                f"Cannot run {command[0]}: {error.strerror}.",
                "Check that this host is a GitLab node and that gitlab_install_type names how GitLab was installed.",
                cmd=command,
            ) from error
        return CommandResult(command, rc, stdout, stderr)
