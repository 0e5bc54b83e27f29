# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl pg-upgrade` and `gitlab-ctl revert-pg-upgrade` on a single node (procedures 2.2, facts 5.6).

Both end with exit code 0 in many cases in which they did nothing or left a PostgreSQL that does not run, as GitLab's do.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from gitlab_ctl import bundled_postgresql, deploy_page, layout, reconfigure, services, settings
from gitlab_ctl.messages import complain, progress, say
from gitlab_ctl.recipes import postgresql
from gitlab_ctl.resources import Converge

_SERVICE = "postgresql"
_DATA = layout.POSTGRESQL / "data"
_WAIT_SECONDS = 30
_LAST_CHANCE_SECONDS = 5
_MEGABYTE = 1024 * 1024
_USAGE = 64
# What goes on while the deploy page is up.
_UNTOUCHED = ("postgresql", "nginx", "puma", "redis")
# From here on initdb makes checksums unless it is told not to, and pg_upgrade wants both clusters alike.
_CHECKSUMS_BY_DEFAULT = 18
# PostgreSQL's minor releases of November 2026 (15.20) write an option of their own to each column and hide it from their pg_dump only; a major whose
# minor release is older stops at it: unrecognized parameter "pg_attver". Majors of one day, as GitLab brings them, do not need this.
_FORGET_STAMPS = """
UPDATE pg_attribute SET attoptions = nullif(ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE o NOT LIKE 'pg\\_attver=%'), '{}')
WHERE EXISTS (SELECT FROM unnest(attoptions) AS o WHERE o LIKE 'pg\\_attver=%')
"""


class _RefusedError(Exception):
    """The arguments are wrong."""


class _FatalError(Exception):
    """The upgrade cannot go on; what was done is to be undone."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> t.NoReturn:
        raise _RefusedError(message)


def upgrade(arguments: t.Sequence[str]) -> int:
    """Bring the data to a newer major: the newest, or the one that is asked for."""
    running = bundled_postgresql.linked_version()
    if len(bundled_postgresql.majors()) == 1:
        say(f"The latest version {running} is already running, nothing to do")
        return 0
    options = _parse("pg-upgrade", arguments)
    if options is None:
        return _USAGE
    target = _major(options, bundled_postgresql.majors()[-1])
    if target is None:
        return 1
    if not progress("Checking for an omnibus managed postgresql", services.is_enabled(_SERVICE)):
        complain("No currently installed postgresql in the omnibus instance found.")
        return 0
    fixed = settings.read(layout.GITLAB_RB, layout.installed_release()).get("postgresql", "version")
    if not progress("Checking if postgresql['version'] is set", fixed is None):
        say("postgresql['version'] is set in /etc/gitlab/gitlab.rb. Not checking for a PostgreSQL upgrade")
        return 0
    if progress("Checking if we already upgraded", bundled_postgresql.major_of(running) >= target):
        complain(f"The latest version {running} is already running, nothing to do")
        return 0
    say("Checking for a newer version of PostgreSQL to install")
    say(f"Upgrading PostgreSQL to {bundled_postgresql.version(bundled_postgresql.programs(target))}")
    fresh = _kept(target)
    if fresh.exists() and any(fresh.iterdir()):
        complain(f"Cannot upgrade, {fresh} is not empty. Move or delete this directory to proceed with upgrade")
        return 0
    if not options.skip_disk_check and not _has_room():
        return 1
    if not services.is_up(_SERVICE):
        say("Starting the database")
        services.run("start", _SERVICE)
    if options.wait:
        say(f"Waiting {_WAIT_SECONDS} seconds to ensure tasks complete before PostgreSQL upgrade.")
        time.sleep(_WAIT_SECONDS)
    return _upgrade(running, target)


def revert(arguments: t.Sequence[str]) -> int:
    """Go back to an older major and to the data that were put aside when it was left. Does not ask whether it then runs."""
    options = _parse("revert-pg-upgrade", arguments)
    if options is None:
        return _USAGE
    old = layout.OLD_POSTGRESQL
    remembered = bundled_postgresql.major_of(old.read_text(encoding="utf-8")) if old.exists() else None
    target = _major(options, remembered or bundled_postgresql.majors()[-1])
    if target is None:
        return 1
    version = bundled_postgresql.version(bundled_postgresql.programs(target))
    there = bundled_postgresql.data_major(_DATA) == target and bundled_postgresql.linked_version() == version
    if progress("Checking if we need to downgrade", there):
        say(f"Already running {version}")
        return 1
    _set_deploy_page(True)
    if not _kept(target).exists():
        say(f"{_kept(target)} does not exist, cannot revert data")
        say("Will proceed with reverting the running program version only, unless you interrupt")
    say(f"Reverting database to {version} in {_LAST_CHANCE_SECONDS} seconds")
    say("=== WARNING ===")
    say("This will revert the database to what it was before you upgraded, including the data.")
    say("Please hit Ctrl-C now if this isn't what you were looking for")
    say("=== WARNING ===")
    try:
        time.sleep(_LAST_CHANCE_SECONDS)
    except KeyboardInterrupt:
        say("Received interrupt, not doing anything")
        return 0
    _go_back(target)
    old.unlink(missing_ok=True)
    _set_deploy_page(False)
    return 0


def _parse(command: str, arguments: t.Sequence[str]) -> argparse.Namespace | None:
    """The options; None, which has been said, where there is no such option."""
    parser = _Parser(prog=f"gitlab-ctl {command}", add_help=False)
    parser.add_argument("-w", "--no-wait", dest="wait", action="store_false")
    parser.add_argument("-V", "--target-version")
    parser.add_argument("-s", "--skip-disk-check", action="store_true")
    try:
        return parser.parse_args(arguments)
    except _RefusedError as error:
        say(f"Command line parameter error: {error}")
        return None


def _major(options: argparse.Namespace, default: int) -> int | None:
    """The major that is meant; None, which has been said, where the package does not bring the one that was named."""
    wanted, there = options.target_version, [str(major) for major in bundled_postgresql.majors()]
    if wanted is None:
        return default
    if wanted not in there:
        say(f"The specified major version {wanted} is not supported. Choose from one of {', '.join(there)}.")
        return None
    return int(wanted)


def _kept(major: int) -> Path:
    """Where the data of a major are while they are not those that are used."""
    data = _DATA.resolve()
    return data.with_name(f"{data.name}.{major}")


def _has_room() -> bool:
    data = _DATA.resolve()
    needed = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) // _MEGABYTE
    free = shutil.disk_usage(data).free // _MEGABYTE
    label = f"Checking if disk for directory {data} has enough free space for PostgreSQL upgrade"
    if progress(label, free >= needed):
        return True
    say(f"Upgrade requires {needed}MB, but only {free}MB is free.")
    return False


def _upgrade(running: str, target: int) -> int:
    before, data = bundled_postgresql.major_of(running), _DATA.resolve()
    _set_deploy_page(True)
    try:
        _make_new_cluster(target)
        if not _as_admin(_pg_upgrade(before, target)):
            raise _FatalError("Error running pg_upgrade, please check logs")
        _require("Move the old data directory out of the way", _move(data, _kept(before)))
        _require("Rename the new data directory", _move(_kept(target), data))
        layout.OLD_POSTGRESQL.write_text(running, encoding="utf-8")
        progress("Saving the old version information", True)
        _configure()
    except _FatalError as error:
        complain("== Fatal error ==")
        complain(str(error))
        _go_back(before)
        complain(f"== Reverted to {running}. Please check output for what went wrong ==")
        _set_deploy_page(False)
        return 1
    say("Database upgrade is complete, running vacuumdb analyze")
    _as_admin([str(bundled_postgresql.programs(target) / "vacuumdb"), "--all", "--analyze-only", *_server()])
    _set_deploy_page(False)
    say("==== Upgrade has completed ====")
    say("Please verify everything is working and run the following if so")
    say(f"sudo rm -rf {_kept(before)}")
    say(f"sudo rm -f {layout.OLD_POSTGRESQL}")
    return 0


def _make_new_cluster(target: int) -> None:
    """Stop the old server and make an empty cluster of the new major with the same locale and encoding."""
    query = "SELECT datcollate, datctype, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
    (answer,) = _ask("template1", query)
    collate, ctype, encoding = answer.split("|")
    for database in _ask("template1", "SELECT datname FROM pg_database WHERE datallowconn"):
        _ask(database, _FORGET_STAMPS)
    progress(f"Running stop on {_SERVICE}", services.run("stop", _SERVICE) == 0)
    bundled_postgresql.link(target)
    progress("Symlink correct version of binaries", True)
    _require("Creating temporary data directory", _as_admin(["mkdir", "-p", str(_kept(target))]))
    locale = [f"--locale={ctype}", f"--lc-collate={collate}", f"--lc-ctype={ctype}", f"--encoding={encoding}"]
    plain = ["--no-data-checksums"] if target >= _CHECKSUMS_BY_DEFAULT else []
    initdb = [
        str(bundled_postgresql.programs(target) / "initdb"),
        "-D",
        str(_kept(target)),
        *locale,
        *plain,
        "--no-sync",
    ]
    _require("Initializing the new database", _as_admin(initdb))


def _ask(database: str, statement: str) -> list[str]:
    command = ["/opt/gitlab/bin/gitlab-psql", "-d", database, "-XAtqc", statement]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode != 0:
        raise _FatalError("Please check error logs")
    return answer.stdout.splitlines()


def _pg_upgrade(before: int, target: int) -> list[str]:
    old, new = bundled_postgresql.programs(before), bundled_postgresql.programs(target)
    folders = ["-b", str(old), "-B", str(new), "-d", str(_DATA.resolve()), "-D", str(_kept(target))]
    return [str(new / "pg_upgrade"), *folders, "--no-sync"]


def _server() -> list[str]:
    port = settings.read(layout.GITLAB_RB, layout.installed_release()).postgresql_port
    return ["-h", str(layout.POSTGRESQL), "-p", str(port)]


def _configure() -> None:
    """Give the new cluster its configuration, start it, and let reconfigure do the rest, migrations too."""
    say("Configuring PostgreSQL")
    postgresql.configure(Converge(say), settings.read(layout.GITLAB_RB, layout.installed_release()))
    if not progress(f"Running restart on {_SERVICE}", services.run("restart", _SERVICE) == 0):
        raise _FatalError("Error updating PostgreSQL configuration. Please check the output")
    say("Running reconfigure to re-generate any dependent service configuration")
    if not progress("Running reconfigure", reconfigure.main() == 0):
        raise _FatalError("Something went wrong during final reconfiguration, please check the output")


def _go_back(major: int) -> None:
    """Use the programs of a major again, and its data where they were put aside."""
    say("== Reverting ==")
    services.run("stop", _SERVICE)
    if _kept(major).exists():
        kept, data = _kept(major), _DATA.resolve()
        shutil.rmtree(data, ignore_errors=True)
        _move(kept, data)
    bundled_postgresql.link(major)
    services.run("start", _SERVICE)
    say("== Reverted ==")


def _move(source: Path, target: Path) -> bool:
    """By `mv`, which copies: the file system of a test host does not rename the folders of its image."""
    return subprocess.run(["mv", str(source), str(target)], check=False).returncode == 0


def _set_deploy_page(up: bool) -> None:
    """Services that were stopped before are started too when the page goes."""
    progress("Toggling deploy page", deploy_page.main(["up" if up else "down"]) == 0)
    codes = [services.run("stop" if up else "start", name) for name in services.known() if name not in _UNTOUCHED]
    progress("Toggling services", not any(codes))


def _require(label: str, ok: bool) -> None:
    if not progress(label, ok):
        raise _FatalError("Please check the output")


def _as_admin(argv: t.Sequence[str]) -> bool:
    """Run a command as the owner of the data, whose home takes in what it writes beside; its output goes to this program's."""
    command = ["chpst", "-u", postgresql.ADMIN, *argv]
    return subprocess.run(command, cwd=layout.POSTGRESQL, check=False).returncode == 0
