# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with the mini GitLab's packages, from nothing or from an image of build.py (root)."""

from __future__ import annotations

import functools
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

MINI_GITLAB = Path(__file__).resolve().parents[2] / "mini_gitlab"
REPOSITORY = "/srv/gitlab-repo"
SOURCE_LIST = f"deb [trusted=yes] file:{REPOSITORY} ./"


class Host:
    """A host of a fleet of its own, by default the only one."""

    services = ("gitaly", "nginx", "postgresql", "puma", "redis", "sidekiq")

    def __init__(self, fleet: str, name: str = "gitlab") -> None:
        self._fleet = [str(MINI_GITLAB / "fleet.py"), "--fleet", fleet]
        self._name = name

    def fleet(self, *arguments: str) -> None:
        subprocess.run([*self._fleet, *arguments], check=True, capture_output=True, text=True)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._fleet, "exec", self._name, "--", "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def install(self, version: str, environment: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(f"{environment} apt-get install -y gitlab-ee={version}-ee.0 2>&1")

    def installed(self) -> tuple[str, str]:
        """dpkg's state and version of the package: ``ii`` is well, ``iF`` is half-configured."""
        state, version = self("dpkg-query -W -f '${db:Status-Abbrev} ${Version}' gitlab-ee").split()
        return state, version

    def service(self, name: str) -> str:
        return self.run(f"gitlab-ctl status {name}").stdout.strip()

    def await_readiness(self) -> None:
        for _attempt in range(120):
            answer = self.run("curl -fsS http://127.0.0.1/-/readiness")
            if answer.returncode == 0:
                return
            time.sleep(0.5)
        pytest.fail(f"not ready: {answer.stderr}\n{self.run('gitlab-ctl status').stdout}")

    def sql(self, query: str, database: str = "gitlabhq_production") -> str:
        return self(f'gitlab-psql -d {database} -XAt -v ON_ERROR_STOP=1 -c "{query}"')


@functools.cache
def build(*arguments: str) -> list[str]:
    done = subprocess.run([str(MINI_GITLAB / "build.py"), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subprocess.run([str(MINI_GITLAB / "fleet.py"), "base"], check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("repository")
    build("repo", str(folder))
    return folder


@pytest.fixture
def other_postgresql() -> str:
    """The bind that shows a host a second major of PostgreSQL."""
    return build("postgresql")[0]


@pytest.fixture
def start(repository: Path) -> t.Iterator[t.Callable[..., Host]]:
    """Starts the host: from an image of build.py, or with nothing but the package source; shows it further folders."""
    name = f"packages-{os.getpid()}"
    host = Host(name)

    def up(image: str | None = None, *binds: str) -> Host:
        kind = "scenario" if image and not image.startswith("gitlab-") else "image"
        chosen = ["--image", *build(kind, image)] if image else []
        shown = [word for bind in (f"{repository}:{REPOSITORY}", *binds) for word in ("--bind", bind)]
        host.fleet("up", "gitlab", *chosen, *shown)
        if image is None:
            host(f"echo '{SOURCE_LIST}' > /etc/apt/sources.list.d/gitlab_gitlab-ee.list && apt-get update")
        elif "db-only" not in image:
            host.await_readiness()
        return host

    yield up
    host.fleet("down")
