# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl reconfigure`: converge the node to its gitlab.rb (facts 5.5)."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import typing as t
from contextlib import contextmanager

from gitlab_ctl import layout, removals, settings
from gitlab_ctl.recipes import gitaly, migrations, nginx, postgresql, rails, redis, runit
from gitlab_ctl.release import Release
from gitlab_ctl.resources import Converge, ResourceError

_RULE = "=" * 80


def main() -> int:
    """Converge, print what Chef prints, and answer its exit code."""
    if os.geteuid() != 0:
        print("This command must be executed as root user", file=sys.stderr)
        return 1
    release = layout.installed_release()
    started = time.monotonic()
    with _log() as say:
        say(f"Starting {'Cinc Client, version 17.10.0' if release.runs_cinc else 'Chef Infra Client, version 15.17.4'}")
        say('resolving cookbooks for run list: ["gitlab-ee"]')
        run = Converge(say)
        succeeded = _run(run, release)
        say("\nRunning handlers:")
        say("Running handlers complete")
        say(f"{_outcome(release, run, succeeded)} resources updated in {time.monotonic() - started:.0f} seconds")
    if succeeded:
        print("gitlab Reconfigured!", flush=True)
    return 0 if succeeded else 1


def _outcome(release: Release, run: Converge, succeeded: bool) -> str:
    product, done = ("Infra Phase", "complete") if release.runs_cinc else ("Chef Infra Client", "finished")
    return f"{product} {done}, {run.updated}/{run.total}" if succeeded else f"{product} failed. {run.updated}"


def _run(run: Converge, release: Release) -> bool:
    """Whether the node was converged; what stood in the way has been said."""
    try:
        wanted = settings.read(layout.GITLAB_RB, release)
    except settings.ConfigurationError as error:
        _refuse(run, f"Recipe Compile Error in {layout.GITLAB_RB}", [str(error)])
        return False
    removed = removals.find_removals(wanted.values, release.series, release.series)
    if removed:
        heading = "Removed configurations found in gitlab.rb. Aborting reconfigure."
        _refuse(run, heading, [removal.text for removal in removed])
        return False
    run.say("Converging resources")
    _save_node({"name": socket.gethostname()}, only_new=True)
    # Chef runs delayed notifications after a failure too, hence a list that asks both.
    return all([_attempt(run, lambda: _converge(run, wanted)), _attempt(run, run.run_delayed)])


def _converge(run: Converge, wanted: settings.Settings) -> None:
    runit.supervise(run)
    run.recipe("gitlab::default")
    run.directory(layout.CONFIG, mode=0o775)
    run.directory(layout.DATA)
    run.directory(layout.LOGS)
    run.user(rails.USER, layout.DATA, "/bin/sh")
    if wanted.has_rails:
        rails.enable(run, wanted)
    postgresql.provide_client(run, wanted)
    _apply(
        run,
        wanted,
        {
            "redis": lambda: redis.enable(run, wanted),
            "gitaly": lambda: gitaly.enable(run),
            "postgresql": lambda: postgresql.enable(run, wanted),
        },
    )
    if wanted.enables("postgresql"):
        postgresql.populate(run, wanted)
    if wanted.migrates:
        migrations.enable(run, wanted)
    _apply(
        run,
        wanted,
        {
            "puma": lambda: rails.enable_puma(run, wanted),
            "sidekiq": lambda: rails.enable_sidekiq(run),
            "nginx": lambda: nginx.enable(run, wanted),
        },
    )
    public = {"gitlab": {"external_url": wanted.external_url}, "postgresql": {"enable": wanted.enables("postgresql")}}
    run.template(layout.PUBLIC_ATTRIBUTES, json.dumps(public, indent=2), mode=0o644)
    run.template(layout.BOOTSTRAPPED, "configured\n")
    _save_node({"name": socket.gethostname(), "normal": wanted.values})


def _apply(run: Converge, wanted: settings.Settings, recipes: t.Mapping[str, t.Callable[[], None]]) -> None:
    """Enable the services that this node is to run, and disable the others."""
    for name, enable in recipes.items():
        if wanted.enables(name):
            enable()
        else:
            runit.disable(run, name)
    runit.start(run, [name for name in recipes if wanted.enables(name)])


def _save_node(node: t.Mapping[str, t.Any], only_new: bool = False) -> None:
    """Chef's own record of the node; a first run that fails leaves it without "normal"."""
    path = layout.NODES / f"{socket.gethostname()}.json"
    if only_new and path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(node, indent=2), encoding="utf-8")
    path.chmod(0o600)


def _attempt(run: Converge, act: t.Callable[[], None]) -> bool:
    """Whether it went well; a failed resource is reported as Chef does."""
    try:
        act()
    except ResourceError as error:
        title = f"Error executing action `{error.action}` on resource '{error.resource}'"
        body = [error.error_class, "-" * len(error.error_class), *str(error).splitlines()]
        for line in ("", _RULE, title, _RULE, "", *body):
            run.say(f"    {line}".rstrip())
        return False
    return True


def _refuse(run: Converge, heading: str, lines: t.Sequence[str]) -> None:
    for line in (_RULE, heading, _RULE, "", *lines):
        run.say(line)


@contextmanager
def _log() -> t.Iterator[t.Callable[[str], None]]:
    """Print to the terminal and to /var/log/gitlab/reconfigure/<epoch>.log."""
    folder = layout.LOGS / "reconfigure"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{time.time():.0f}.log").open("a", encoding="utf-8") as log:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=log, flush=True)

        yield say
