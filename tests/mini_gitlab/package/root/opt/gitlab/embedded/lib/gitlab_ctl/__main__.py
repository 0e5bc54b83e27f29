# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of `gitlab-ctl` (facts 5.6)."""

from __future__ import annotations

import sys
import typing as t
from dataclasses import dataclass

from gitlab_ctl import (
    backup_etc,
    check_config,
    deploy_page,
    layout,
    pg_upgrade,
    reconfigure,
    restart_except,
    services,
    upgrade,
    upgrade_check,
)

_SERVICE_COMMANDS = {
    "status": "Show the status of all the services.",
    "start": "Start services if they are down, and restart them if they stop.",
    "stop": "Stop the services, and do not restart them.",
    "restart": "Stop the services if they are running, then start them again.",
    "once": "Start the services if they are down. Do not restart them if they stop.",
    "hup": "Send the services a HUP.",
    "term": "Send the services a TERM.",
    "int": "Send the services an INT.",
    "kill": "Send the services a KILL.",
    "usr1": "Send the services a USR1.",
    "usr2": "Send the services a USR2.",
}


@dataclass(frozen=True)
class Command:
    """One word that gitlab-ctl knows.

    :ivar run: gets what follows the word; answers the exit code.
    """

    description: str
    run: t.Callable[[t.Sequence[str]], int]
    takes_arguments: bool = True


def main(arguments: t.Sequence[str]) -> int:
    commands = _commands()
    word, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if word in ("help", "--help", "-h"):
        _print_help(commands)
        return 0
    if word not in commands:
        print("I don't know that command.")
        _print_help(commands)
        return 1
    command = commands[word]
    if rest and not command.takes_arguments:
        print(f"The command {word} does not accept any arguments")
        return 2
    return command.run(rest)


def _commands() -> dict[str, Command]:
    commands = {word: Command(text, _service_command(word)) for word, text in _SERVICE_COMMANDS.items()}
    commands["reconfigure"] = Command(
        "Reconfigure the application.", lambda rest: reconfigure.main(), takes_arguments=False
    )
    commands["upgrade"] = Command("Run migrations after a package upgrade", lambda rest: upgrade.main())
    commands["upgrade-check"] = Command("Check if the upgrade is acceptable", _upgrade_check)
    commands["check-config"] = Command(
        "Check if there are any configuration in gitlab.rb that is removed in specified version", check_config.main
    )
    commands["backup-etc"] = Command("Backup GitLab configuration", backup_etc.main)
    commands["deploy-page"] = Command("Put up the deploy page", deploy_page.main)
    commands["pg-upgrade"] = Command("Upgrade the PostgreSQL DB to the latest supported version", pg_upgrade.upgrade)
    commands["revert-pg-upgrade"] = Command(
        "Run this to revert to the previous version of the database", pg_upgrade.revert
    )
    if layout.installed_release().has_restart_except:
        commands["restart-except"] = Command("Restart all services except: service_name ...", restart_except.main)
    return commands


def _service_command(word: str) -> t.Callable[[t.Sequence[str]], int]:
    """All services, or the first one named: like the real program, further names are not looked at."""
    return lambda rest: services.run_all(word, rest[:1] or services.known())


def _upgrade_check(rest: t.Sequence[str]) -> int:
    if len(rest) != 2:
        print("Usage: gitlab-ctl upgrade-check OLD_VERSION NEW_VERSION", file=sys.stderr)
        return 1
    return upgrade_check.main(*rest)


def _print_help(commands: t.Mapping[str, Command]) -> None:
    print("/opt/gitlab/bin/gitlab-ctl: command (subcommand)")
    for word, command in sorted(commands.items()):
        print(f"  {word}\n    {command.description}")


sys.exit(main(sys.argv[1:]))
