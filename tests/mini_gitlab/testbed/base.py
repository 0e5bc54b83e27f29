# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root file system that hosts start from: a clean Debian, made once by mmdebstrap."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import time

from . import images, rootless
from .errors import TestbedError
from .sources import debian_sources
from .store import Store, entries

RELEASE = "bookworm"
HOOK = pathlib.Path(__file__).parent / "base-hook"
DIRECTORY = pathlib.Path(__file__).parent.parent
# Documentation and translations are half of a small Debian, and no test reads them.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/ri/*")
_RECENT_SECONDS = 3600


def package_names(text: str) -> list[str]:
    """Names in a list file: one a line, ``#`` starts a comment."""
    return sorted({line.split("#")[0].strip() for line in text.splitlines()} - {""})


def current() -> str:
    """The name of the base that the files of this directory describe."""
    recipe = [RELEASE, HOOK.read_text(), *LEFT_OUT, *package_names((DIRECTORY / "base-packages.txt").read_text())]
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]


def require(store: Store) -> str:
    name = current()
    if name not in entries(store.bases):
        raise TestbedError("there is no base file system for base-packages.txt as it is now: run fleet.py base")
    return name


def make(store: Store) -> str:
    """Makes the base unless it is there; removes old ones that nothing stands on. Takes the store's lock.

    A recent one may be that of another checkout, which is about to make its first image on it.
    """
    name = current()
    with store.lock("store", seconds=1200):
        if name not in entries(store.bases):
            _install_tools()
            with store.building(store.bases / name) as directory:
                _bootstrap(directory / "root", store.bases / f".{name}.log")
        for old in set(entries(store.bases)) - {name} - images.bases_in_use(store):
            if time.time() - (store.bases / old).stat().st_mtime > _RECENT_SECONDS:
                store.remove(store.bases / old)
    return name


def _install_tools() -> None:
    names = package_names((DIRECTORY / "apt.txt").read_text())
    if all(map(shutil.which, ("mmdebstrap", "ip", "ssh-keygen", "newuidmap"))):
        return
    if not rootless.privileged() or shutil.which("apt-get") is None:
        raise TestbedError(f"install these Debian packages first: {' '.join(names)}")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        ["apt-get", "install", "-qq", "--no-install-recommends", *names],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def _mirrors() -> list[str]:
    """What mmdebstrap takes as its mirrors; nothing means its own default."""
    if mirror := os.environ.get("MINI_GITLAB_MIRROR"):
        return [mirror]
    apt = pathlib.Path("/etc/apt")
    files = [apt / "sources.list", *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")]
    return debian_sources({str(file): file.read_text() for file in files if file.is_file()}, RELEASE)


def _bootstrap(root: pathlib.Path, log: pathlib.Path) -> None:
    names = package_names((DIRECTORY / "base-packages.txt").read_text())
    command = ["mmdebstrap", "--variant=apt", f"--include={','.join(names)}", f"--customize-hook={HOOK}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += [RELEASE, str(root), *_mirrors()]
    with open(log, "wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise TestbedError(f"mmdebstrap failed ({done.returncode}); its last lines, all of them in {log}:\n{tail}")
