# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When reconfigure migrates, and what it says when that fails (facts 5.5, procedures 0.3)."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

from gitlab_ctl import layout
from gitlab_ctl.recipes import rails
from gitlab_ctl.resources import Converge, ResourceError, shell_out_error
from gitlab_ctl.settings import Settings

_TIMEOUT_VARIABLE = "MINI_GITLAB_MIGRATE_TIMEOUT"
_TIMEOUT_SECONDS = 3600.0
_TERM_GRACE_SECONDS = 3.0
_COOKBOOKS = "/opt/gitlab/embedded/cookbooks/cache/cookbooks/gitlab"
_RESOURCE = "rails_migration[gitlab-rails]"


def enable(run: Converge, settings: Settings) -> None:
    """Migrate, unless this very build has already migrated these databases from this node.

    :raises ResourceError: the migrations failed or took too long.
    """
    run.recipe("gitlab::database_migrations")
    status = status_file(settings, (layout.RAILS_ROOT / "REVISION").read_text(encoding="utf-8").strip())
    if status.exists() and status.read_text(encoding="utf-8").strip() == "0":
        run.record(_RESOURCE, "run")
        return
    run.say(f"  * {_RESOURCE} action run")
    _migrate(run, settings, status)
    run.record(settings.release.migration_resource[0], "run", "execute the migrations")
    rails.restart_dependents(run)


def status_file(settings: Settings, revision: str) -> Path:
    """Where the exit code of this build's last migration run is kept.

    The digest covers the connection, as with the real package, so another database host migrates again.
    """
    connection = (
        "postgresql",
        settings.databases[0].database,
        settings.database_host,
        settings.database_port,
        None,
        [database.name for database in settings.databases],
    )
    digest = hashlib.md5(repr(connection).encode()).hexdigest()
    return layout.UPGRADE_STATUS / f"db-migrate-{digest}-{revision}"


def _migrate(run: Converge, settings: Settings, status: Path) -> None:
    log = layout.LOGS / "gitlab-rails" / time.strftime("gitlab-rails-db-migrate-%Y-%m-%d-%H-%M-%S.log", time.gmtime())
    script = Path(f"/tmp/chef-script{time.strftime('%Y%m%d')}-{os.getpid()}-mini")
    script.write_text(
        f"umask 077\n"
        f"/opt/gitlab/bin/gitlab-rake gitlab:db:configure 2>&1 | tee {log}\n"
        f"STATUS=${{PIPESTATUS[0]}}\n"
        f"chown {rails.USER}:{rails.USER} {log}\n"
        f"echo $STATUS > {status}\n"
        f"exit $STATUS\n",
        encoding="utf-8",
    )
    try:
        code, output = _run_limited(script, settings)
    finally:
        script.unlink()
    if code != 0:
        raise _failure(settings, script, code, output)


def _run_limited(script: Path, settings: Settings) -> tuple[int, str]:
    """Run the script in a process group of its own, and end all of it at the limit."""
    limit = float(os.environ.get(_TIMEOUT_VARIABLE, _TIMEOUT_SECONDS))
    process = subprocess.Popen(
        ["bash", str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _unused = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            output, _unused = process.communicate(timeout=_TERM_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _unused = process.communicate()
        text = f"Command timed out after {limit:.0f}s:\nCommand exceeded allowed execution time, process terminated\n"
        raise ResourceError(
            _RESOURCE,
            "run",
            "Mixlib::ShellOut::CommandTimeout",
            _in_resource(settings, "CommandTimeout", text + _quoted(script, output)),
        ) from None
    return process.returncode, output


def _failure(settings: Settings, script: Path, code: int, output: str) -> ResourceError:
    command = f'"bash"  "{script}"'
    if settings.release.hides_migration_output:
        text = "Command execution failed. STDOUT/STDERR suppressed for sensitive resource"
    else:
        text = shell_out_error(command, code, output, "")
    return ResourceError(
        _RESOURCE, "run", "Mixlib::ShellOut::ShellCommandFailed", _in_resource(settings, "ShellCommandFailed", text)
    )


def _in_resource(settings: Settings, error: str, text: str) -> str:
    name, line = settings.release.migration_resource
    return f"{name} ({_COOKBOOKS}/resources/rails_migration.rb line {line}) had an error: Mixlib::ShellOut::{error}: {text}"


def _quoted(script: Path, output: str) -> str:
    return f'---- Begin output of "bash"  "{script}" ----\nSTDOUT: {output.strip()}\nSTDERR: \n---- End output of "bash"  "{script}" ----'
