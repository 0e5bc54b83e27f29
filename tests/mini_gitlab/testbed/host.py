# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host: what is known of it, and its life as processes in namespaces."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import time
import typing as t

from . import rootless
from .errors import TestbedError
from .process import Process, alive, boot_id, identify, send
from .store import Store, need, read_json, write_json

BOOT = pathlib.Path(__file__).parent / "guest" / "boot"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# An image's layers must mean the same in each stack, so no option may tie them to one;
# volatile drops fsync, which only a crash of this machine could punish.
OVERLAY_OPTIONS = "volatile,index=off,metacopy=off,redirect_dir=nofollow,xino=off"
# guest/init gives its processes 10 seconds.
SHUTDOWN_SECONDS = 15.0
BOOT_SECONDS = 30.0


@dataclasses.dataclass
class Host:
    """The record of a host, kept as hosts/NAME/host.json; ``process`` is its init while it runs."""

    name: str
    number: int
    image: str | None
    base: str
    binds: list[str]
    cut: bool = False
    process: Process | None = None

    @classmethod
    def from_record(cls, record: dict[str, t.Any]) -> Host:
        process = record["process"]
        return cls(**{**record, "process": process and Process(**process)})

    def to_record(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)

    @property
    def state(self) -> str:
        if not alive(self.process):
            return "off"
        return "cut" if self.cut else "running"


def check_name(name: str) -> str:
    if len(name) > 63 or not all(LABEL.fullmatch(label) for label in name.split(".")):
        raise TestbedError(f"{name!r} is no host name: use a-z, 0-9, '-' and '.', at most 63 characters")
    return name


def check_bind(bind: str) -> str:
    source, _, target = bind.partition(":")
    if not target.startswith("/") or ":" in target or ".." in target.split("/"):
        raise TestbedError(f"--bind {bind}: say SRC:DST, DST being a full path in the hosts")
    directory = pathlib.Path(source).resolve()
    if not directory.is_dir():
        raise TestbedError(f"--bind {bind}: {directory} is no directory of this machine")
    return f"{directory}:{target}"


def load(directory: pathlib.Path) -> Host:
    return Host.from_record(read_json(directory / "host.json"))


def save(directory: pathlib.Path, host: Host) -> None:
    write_json(directory / "host.json", host.to_record())


class Starting:
    """A host whose namespaces exist and which waits for its network; it ends if this process does."""

    def __init__(
        self, store: Store, directory: pathlib.Path, host: Host, layers: t.Sequence[pathlib.Path], address: str
    ) -> None:
        self.host = host
        self._directory = directory
        need(["unshare", "nsenter", "ip"])
        self._refuse_torn_files()
        # "volatile" leaves a mark in the work directory that forbids to use it again.
        store.remove(directory / "work")
        for name in ("upper", "work", "root"):
            (directory / name).mkdir(exist_ok=True)
        command = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--propagation", "private", "--"]
        command += [str(BOOT), host.name, store.relative(directory), ":".join(map(store.relative, layers))]
        # Without root of the machine overlay keeps its marks where users may write: in user.* attributes.
        options = OVERLAY_OPTIONS if rootless.privileged() else f"{OVERLAY_OPTIONS},userxattr"
        command += [options, f"{address}/24", *host.binds]
        with open(directory / "console.log", "wb") as console:
            self._boot = subprocess.Popen(
                command,
                cwd=store.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                # Only to find what boot runs; the host's own environment starts empty.
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
                text=True,
            )

    def _refuse_torn_files(self) -> None:
        process = self.host.process
        if process is not None and process.boot != boot_id():
            raise TestbedError(
                f"this machine restarted while {self.host.name} ran, its files may be torn: down and up it again"
            )

    def identify(self) -> int:
        """Notes which process the host's init is, and returns its pid."""
        assert self._boot.stdout is not None
        line = self._boot.stdout.readline()
        process = identify(int(line)) if line else None
        if process is None:
            raise self._failure("did not start")
        self.host.process = process
        save(self._directory, self.host)
        return process.pid

    def go_on(self) -> None:
        """Its network is plugged in: let it boot."""
        assert self._boot.stdin is not None
        self._boot.stdin.write("\n")
        self._boot.stdin.close()

    def wait_for_ssh(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while alive(self.host.process):
            # Asking the kernel, not the network: an early packet would cost a second until it is repeated.
            if listens(pathlib.Path(f"/proc/{self.host.process.pid}/net/tcp").read_text(), 22):
                return
            if time.monotonic() > deadline:
                raise self._failure(f"has no sshd after {BOOT_SECONDS:.0f} s")
            time.sleep(0.02)
        raise self._failure("ended while it booted")

    def _failure(self, what: str) -> TestbedError:
        log = self._directory / "console.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        return TestbedError(f"{self.host.name} {what}; its console ({log}) says:\n{tail or '(nothing)'}")


def listens(table: str, port: int) -> bool:
    """Whether a /proc/net/tcp table holds a socket that listens on the port (proc(5): state 0A)."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def request_shutdown(host: Host) -> None:
    if host.process is not None:
        send(host.process, signal.SIGTERM)


def cut_power(host: Host) -> None:
    if host.process is not None:
        # The end of its init is the end of each process in the host.
        send(host.process, signal.SIGKILL)


def inside(host: Host, command: t.Sequence[str]) -> list[str]:
    """The command line that runs a command as root in a running host."""
    if not alive(host.process):
        raise TestbedError(f"{host.name} is off: run fleet.py start {host.name}")
    enter = [
        "nsenter",
        "--target",
        str(host.process.pid),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--root",
        "--wd",
    ]
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [
        *enter,
        "--",
        "/usr/bin/env",
        "-i",
        f"PATH={path}",
        "HOME=/root",
        "USER=root",
        "LANG=C.UTF-8",
        "TERM=dumb",
        *command,
    ]
