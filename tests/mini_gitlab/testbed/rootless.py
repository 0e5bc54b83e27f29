# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test bed for users who are not root: the same program inside namespaces that the user owns.

In a user namespace the user is root over whatever belongs to that namespace. A
holder process keeps one with a network, mounts and processes of its own; every
command enters it. Making the base needs the machine's network instead.
"""

from __future__ import annotations

import getpass
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

from .errors import TestbedError
from .process import Process, alive, identify, send, wait_for_end
from .store import Store, entries, need, read_json, write_json

PROGRAM = pathlib.Path(__file__).parent.parent / "fleet.py"
OWN_USERS = ["unshare", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--mount-proc"]
# The first process of the namespaces reaps what the hosts leave, as a machine's does. It
# waits for a word, and ends without it, so that none is left that is not on record.
HOLD = "ip link set lo up && echo ready && read -r _ && { sleep infinity & while :; do wait; done; }"


def privileged() -> bool:
    """Whether this is root of the whole machine: all user ids are mapped as they are (user_namespaces(7))."""
    mapped = pathlib.Path("/proc/self/uid_map").read_text().split()
    return os.geteuid() == 0 and mapped == ["0", "0", str(2**32 - 1)]


def run(store: Store, verb: str, arguments: t.Sequence[str], command: t.Sequence[str]) -> int:
    """Does inside what was asked for outside; the exit code, unless this process becomes the command."""
    _require()
    program = [sys.executable, str(PROGRAM), *arguments]
    # The user's defaults are not those of the root that the user is inside.
    os.environ["MINI_GITLAB_DIR"] = str(store.root)
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if verb == "base":
        need(["mmdebstrap"])
        return subprocess.run([*OWN_USERS, "--", *program]).returncode
    with store.lock("holder"):
        holder = _holder(store)
    entered = ["nsenter", "--target", str(holder.pid), "--user", "--mount", "--net", "--pid", "--"]
    # Entering other mounts leaves the working directory behind.
    entered += ["/bin/sh", "-c", 'cd "$0" && exec "$@"', os.getcwd()]
    if verb in ("exec", "shell"):
        # Signals and exit codes pass best where nobody stands between.
        os.execvp("nsenter", [*entered, *(command if verb == "shell" else program)])
    code = subprocess.run([*entered, *program]).returncode
    with store.lock("holder"):
        if not entries(store.fleets):
            send(holder, signal.SIGKILL)
            wait_for_end([holder], 5)
    return code


def has_range(text: str, names: set[str]) -> bool:
    """Whether a file as /etc/subuid gives one of these, login name or number, the ids that a Debian needs (subuid(5))."""
    ranges = [line.split(":") for line in text.splitlines()]
    return any(
        len(fields) == 3 and fields[0] in names and fields[2].isdecimal() and int(fields[2]) >= 65535
        for fields in ranges
    )


def _require() -> None:
    """Says exactly what this machine does not let the user do."""
    need(["unshare", "nsenter", "ip", "newuidmap", "newgidmap"])
    user = getpass.getuser()
    for file in ("/etc/subuid", "/etc/subgid"):
        path = pathlib.Path(file)
        if not has_range(path.read_text() if path.exists() else "", {user, str(os.getuid())}):
            ranges = "--add-subuids 100000-165535 --add-subgids 100000-165535"
            raise TestbedError(f"{user} has no range of 65536 ids in {file}: run as root: usermod {ranges} {user}")
    tried = subprocess.run([*OWN_USERS, "--", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        settings = {
            "user.max_user_namespaces": "more than 0",
            "kernel.unprivileged_userns_clone": "1",
            "kernel.apparmor_restrict_unprivileged_userns": "0",
        }
        found = [
            f"{name}={value.read_text().strip()} (needed: {needed})"
            for name, needed in settings.items()
            if (value := pathlib.Path("/proc/sys", *name.split("."))).exists()
        ]
        words = f"{tried.stderr.strip()}; sysctl settings: {', '.join(found)}"
        raise TestbedError(f"this machine lets {user} have no user namespace: {words}. Change them, or use root")


def _holder(store: Store) -> Process:
    """The process that keeps the namespaces, started if it does not run."""
    record = store.root / "holder.json"
    if record.exists() and alive(known := Process(**read_json(record))):
        return known
    with open(store.root / "holder.log", "wb") as log:
        started = subprocess.Popen(
            [*OWN_USERS, "--net", "--", "/bin/sh", "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    assert started.stdin is not None
    assert started.stdout is not None
    if started.stdout.readline() != "ready\n":
        raise TestbedError(f"no namespaces for the hosts: {(store.root / 'holder.log').read_text().strip()}")
    # unshare waits as the parent of the first process in the new namespaces.
    children = pathlib.Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    holder = identify(int(children[0]))
    assert holder is not None
    write_json(record, vars(holder))
    started.stdin.write("\n")
    started.stdin.close()
    return holder


def state_directory() -> pathlib.Path:
    if given := os.environ.get("MINI_GITLAB_DIR"):
        return pathlib.Path(given)
    if os.geteuid() == 0:
        return pathlib.Path("/var/lib/gitlab-fleet-testbed")
    home = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state"
    return pathlib.Path(home, "gitlab-fleet-testbed")
