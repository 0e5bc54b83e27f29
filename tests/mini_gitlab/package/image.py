# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of configured hosts, made the way an administrator installs and upgrades, and kept until what is in them changes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import typing as t
from pathlib import Path

from . import repository, spec
from .host import REPOSITORY, Host, base, fresh_host, images
from .source import HERE, SCENARIOS, BuildError, digest, releases

_SOURCE_LIST = "/etc/apt/sources.list.d/gitlab_gitlab-ee.list"
_READY_WITHIN_SECONDS = 90

_AWAIT_READINESS = f"""\
for attempt in $(seq {_READY_WITHIN_SECONDS}); do
  if curl -fsS -o /dev/null http://127.0.0.1/-/readiness 2>/run/readiness; then exit 0; fi
  sleep 1
done
echo "not ready after {_READY_WITHIN_SECONDS} s: $(cat /run/readiness)" >&2
gitlab-ctl status >&2
exit 1
"""


def make(name: str, cache: Path) -> str:
    """Make the image unless it is there; answers its full name, which ends in a digest of all that went into it."""
    return _make(spec.parse(name, releases()), cache)


def make_scenario(name: str, cache: Path) -> str:
    """Make a scenario's image: its start image, then its make.sh, run in the host."""
    folder = SCENARIOS / name
    if not (folder / "make.sh").exists():
        raise BuildError(
            f"there is no scenario {name}: there are {', '.join(sorted(path.parent.name for path in SCENARIOS.glob('*/make.sh')))}"
        )
    start = _start_of(json.loads((folder / "scenario.json").read_text()), cache)
    full_name = _full_name(f"scenario-{name}", start, folder)
    with _missing(full_name, cache) as missing:
        if missing:
            with fresh_host(digest(full_name), _repository(cache), start) as host:
                host.push(folder, "/root/scenario")
                host.run("cd /root/scenario && exec bash -eu make.sh")
                host.run("rm -r /root/scenario")
                _close(host, full_name)
    return full_name


def _start_of(description: t.Mapping[str, str], cache: Path) -> str:
    """The image that a scenario goes on from: that of another scenario, or of a fresh instance."""
    if "scenario" in description:
        return make_scenario(description["scenario"], cache)
    return make(description["image"], cache)


def _make(wanted: spec.Spec, cache: Path) -> str:
    packages = _repository(cache)
    parent = _make(wanted.predecessor, cache) if wanted.predecessor else None
    start = parent or base()
    full_name = _full_name(wanted.name, wanted.gitlab_rb, start, packages.name, HERE / "image.py")
    with _missing(full_name, cache) as missing:
        if missing:
            with fresh_host(digest(full_name), packages, parent) as host:
                _install(host, wanted)
                _close(host, full_name)
    return full_name


def _full_name(name: str, *parts: str | Path) -> str:
    """The name with a digest of what goes into the image; short, since fleet.py takes 63 characters."""
    return f"{name}-{digest(name, *parts)[:8]}"


def _install(host: Host, wanted: spec.Spec) -> None:
    version = wanted.versions[-1]
    if wanted.predecessor is None:
        host.run(f"echo 'deb [trusted=yes] file:{REPOSITORY} ./' > {_SOURCE_LIST}")
    host.run(f"apt-get update -q && apt-get install -q -y --no-install-recommends gitlab-ee={version}-ee.0")
    if wanted.predecessor is None:
        host.run(f"cat > /etc/gitlab/gitlab.rb <<'END'\n{wanted.gitlab_rb}END\ngitlab-ctl reconfigure")
    if not wanted.db_only:
        host.run(_AWAIT_READINESS)


def _close(host: Host, full_name: str) -> None:
    host.run("gitlab-ctl stop && apt-get clean")
    host.save(full_name)


def _repository(cache: Path) -> Path:
    return repository.build(releases(), cache)


@contextlib.contextmanager
def _missing(full_name: str, cache: Path) -> t.Iterator[bool]:
    """Whether the image has to be made, while nobody else can be making it."""
    locks = cache / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / full_name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield full_name not in images()
