# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl upgrade`: what the package runs after its files are in place (facts 5.4)."""

from __future__ import annotations

import subprocess
import sys
import time

from gitlab_ctl import bundled_postgresql, layout, services
from gitlab_ctl.messages import progress, say
from gitlab_ctl.release import Release

_CTL = "/opt/gitlab/bin/gitlab-ctl"
_STARTS_WITHIN_SECONDS = 30.0
_REDIS_DUMP = layout.REDIS / "dump.rdb"
_POSTGRESQL_PROGRAMS = ("postgres", "initdb", "psql", "pg_dump", "pg_restore", "pg_ctl")


def main() -> int:
    release = layout.installed_release()
    before = subprocess.run([_CTL, "status"], stdout=subprocess.PIPE, text=True, check=False).stdout
    if not before.strip() or "runsv not running" in before:
        say("It looks like GitLab has not been configured yet; skipping the upgrade script.")
        say("\n     *** GitLab ***\n\nThank you for installing GitLab!")
        return 0
    if not layout.PUBLIC_ATTRIBUTES.exists():
        say("It looks like there was a problem with public attributes; run gitlab-ctl reconfigure manually to fix.")
        return 1
    _check_executables()
    if layout.SKIP_RECONFIGURE.exists():
        say(f"Found {layout.SKIP_RECONFIGURE}, exiting...")
        _print_closing_words()
        return 0
    if not _upgrade_postgresql(release):
        return 1
    running = [name for name in services.known() if services.is_up(name)]
    say("Shutting down all GitLab services except those needed for migrations")
    services.run_all("stop", [name for name in running if name not in services.MIGRATION_SERVICES])
    say("Ensuring the required services are running")
    for name in (
        name for name in services.known() if name in services.MIGRATION_SERVICES and services.is_enabled(name)
    ):
        if not _ensure_running(name):
            say(f"Failed to start {name} for migrations")
            return 1
    say("Reconfigure GitLab to apply migrations")
    code = subprocess.run([_CTL, "reconfigure"], check=False).returncode
    if code != 0:
        _print_failure()
        return code
    say("Restarting previously running GitLab services")
    services.run_all("start", running)
    _print_closing_words()
    return 0


def _check_executables() -> None:
    bundled_postgresql.follow_data()
    ok = all((layout.EMBEDDED / "bin" / name).exists() for name in _POSTGRESQL_PROGRAMS)
    progress("Checking PostgreSQL executables", ok)
    if not ok:
        say("Could not update PostgreSQL executables.")


def _upgrade_postgresql(release: Release) -> bool:
    """The automatic major upgrade; where the host has one PostgreSQL only, there is nothing newer."""
    if not release.upgrades_postgresql or not services.is_enabled("postgresql"):
        return True
    if layout.KEEP_POSTGRESQL.exists():
        say("=" * 3)
        say("Skipping the check for newer PostgreSQL version and automatic upgrade.")
        say(f"Found {layout.KEEP_POSTGRESQL}.")
        say("=" * 3)
        return True
    answer = subprocess.run([_CTL, "pg-upgrade", "-w", "--skip-disk-check"], stdout=subprocess.DEVNULL, check=False)
    ok = answer.returncode == 0
    progress("Checking if a newer PostgreSQL version is available and attempting automatic upgrade to it", ok)
    if not ok:
        say("Error ensuring PostgreSQL is updated. Please check the logs")
    return ok


def _ensure_running(name: str) -> bool:
    if _starts(name):
        return True
    if name != "redis":
        return False
    say(f"Failed starting Redis; retrying after removing {_REDIS_DUMP}")
    _REDIS_DUMP.unlink(missing_ok=True)
    return _starts(name)


def _starts(name: str) -> bool:
    if not services.is_up(name):
        services.run("start", name)
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while not services.is_up(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _print_failure() -> None:
    for line in (
        "===",
        "There was an error running gitlab-ctl reconfigure. Please check the output above for more",
        "details.",
        "===",
    ):
        print(f"\x1b[31m{line}\x1b[0m", file=sys.stderr, flush=True)


def _closing_words() -> list[str]:
    common = [
        "",
        "Upgrade complete! If your GitLab server is misbehaving try running",
        "  sudo gitlab-ctl restart",
        "before anything else.",
    ]
    if layout.SKIP_BACKUP.exists():
        return [
            *common,
            "The automatic database backup was skipped as requested.",
            "You may enable it again anytime by running the following command:",
            f"  sudo rm {layout.SKIP_BACKUP}",
        ]
    return [
        *common,
        "If you need to roll back to the previous version you can use the database",
        "backup made during the upgrade (scroll up for the filename).",
    ]


def _print_closing_words() -> None:
    for line in _closing_words():
        say(line)
