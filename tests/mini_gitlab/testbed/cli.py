# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: arguments in, one call, terse words out."""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import typing as t

from . import addresses, base, images, inventory, rootless
from .errors import TestbedError
from .fleet import Fleet, run_inside
from .process import alive
from .store import Store, entries


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet.py", description="Test hosts as Linux namespaces; README.md tells more."
    )
    parser.add_argument("--fleet", default=os.environ.get("MINI_GITLAB_FLEET", "default"))
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, help: str, *operands: tuple[str, str | None]) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help)
        for operand, count in operands:
            added.add_argument(operand, nargs=count)
        return added

    names = ("names", "+")
    verb("base", "make the root file system that hosts start from")
    up = verb("up", "create and start hosts", names)
    up.add_argument("--image", metavar="IMG", help="start new hosts from this image")
    up.add_argument(
        "--bind", metavar="SRC:DST", action="append", default=[], help="show a directory in the hosts, read-only"
    )
    verb("down", "remove hosts, or the whole fleet", ("names", "*"))
    verb("stop", "shut hosts down", names)
    verb("start", "boot hosts", names)
    verb("reboot", "shut down and boot", names)
    verb("kill", "power loss", names)
    verb("cut", "pull the network cable", names)
    verb("mend", "plug the network cable in", names)
    verb("exec", "run a command as root in a host: exec NAME -- CMD...", ("name", None))
    verb(
        "push", "copy a file or what is in a directory into a host", ("name", None), ("source", None), ("target", None)
    )
    verb("image", "save the files of a host that is off", ("name", None), ("image", None))
    verb("images", "list images")
    verb("rmimage", "remove images", ("images", "+"))
    verb("inventory", "print the Ansible inventory")
    verb("ps", "list hosts: name, state, pid, address, image")
    verb("status", "say what there is")
    verb("shell", "run a command where the hosts can be reached: shell -- CMD...")

    return parser


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    """Parsed arguments; what follows the first ``--`` is ``command`` (None without one)."""
    options = list(arguments)
    command = None
    if "--" in options:
        at = options.index("--")
        options, command = options[:at], options[at + 1 :]
    parsed = make_parser().parse_args(options)
    takes_command = parsed.verb in ("exec", "shell")
    if takes_command and not command:
        make_parser().error(f"{parsed.verb} needs a command after --")
    if command is not None and not takes_command:
        make_parser().error(f"{parsed.verb} takes nothing after --")
    parsed.command = command
    return parsed


def main(arguments: t.Sequence[str]) -> int:
    parsed = parse(arguments)
    try:
        store = Store.open(rootless.state_directory())
        if os.geteuid() != 0:
            return rootless.run(store, parsed.verb, arguments, parsed.command or [])
        run(parsed, store)
    except TestbedError as error:
        print(f"fleet.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        words = f"{' '.join(error.cmd)} failed ({error.returncode}): {error.stderr or 'see above'}"
        print(f"fleet.py: {words}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(parsed: argparse.Namespace, store: Store) -> None:
    fleet = Fleet(store, parsed.fleet)
    verb = parsed.verb
    if verb == "base":
        print(base.make(store))
    elif verb == "up":
        fleet.up(parsed.names, parsed.image, parsed.bind)
    elif verb == "down":
        fleet.down(parsed.names)
    elif verb == "start":
        fleet.start(parsed.names)
    elif verb in ("stop", "reboot"):
        for name in getattr(fleet, verb)(parsed.names):
            print(f"{name} did not shut down in time and was killed", file=sys.stderr)
    elif verb == "kill":
        fleet.kill(parsed.names)
    elif verb in ("cut", "mend"):
        fleet.cut(parsed.names, cut=verb == "cut")
    elif verb == "exec":
        run_inside(fleet.host(parsed.name), parsed.command)
    elif verb == "push":
        fleet.push(parsed.name, pathlib.Path(parsed.source), parsed.target)
    elif verb == "image":
        fleet.image(parsed.name, parsed.image)
    elif verb == "images":
        for image in images.everything(store):
            print(" < ".join([*images.chain(store, image.name), f"base {image.base}"]))
    elif verb == "rmimage":
        with store.lock("store"):
            for name in parsed.images:
                images.remove(store, name)
    elif verb == "inventory":
        print(inventory.render(fleet.addresses(), store.keys), end="")
    elif verb == "ps":
        print_hosts(fleet)
    elif verb == "status":
        print_status(store)
    elif verb == "shell":
        os.execvp(parsed.command[0], parsed.command)


def print_hosts(fleet: Fleet) -> None:
    places = fleet.addresses()
    for name, host in fleet.hosts().items():
        pid = str(host.process.pid) if alive(host.process) else "-"
        print(name, host.state, pid, places[name], host.image or "-")


def print_status(store: Store) -> None:
    print(f"state {store.root}")
    wanted = base.current()
    for name in entries(store.bases):
        print(f"base {name}{' (current)' if name == wanted else ''}")
    if wanted not in entries(store.bases):
        print("base missing: run fleet.py base")
    print(f"images {len(entries(store.images))}")
    for name in entries(store.fleets):
        fleet = Fleet(store, name)
        if not fleet.exists:
            print(f"fleet {name} was interrupted while it was made: up or down it")
            continue
        states = [host.state for host in fleet.hosts().values()]
        print(
            f"fleet {name} {addresses.network(fleet.slot)} {addresses.bridge(fleet.slot)} hosts {len(states)} running {states.count('running')}"
        )
