# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet: hosts on one network, and what can be done with them.

fleets/NAME/fleet.json holds the slot, fleets/NAME/names the hosts' names and
addresses, fleets/NAME/hosts/HOST/ each host's record and files.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import typing as t

from . import addresses, base, images, network, seed
from . import host as hosts
from .errors import TestbedError
from .host import Host, Starting
from .process import alive, wait_for_end
from .store import Store, entries, read_json, write_json


class Fleet:
    """The fleet of this name, whether or not it exists yet."""

    def __init__(self, store: Store, name: str) -> None:
        if not hosts.LABEL.fullmatch(name):
            raise TestbedError(f"{name!r} is no fleet name: use a-z, 0-9 and '-'")
        self.store = store
        self.name = name
        self.directory = store.fleets / name
        self._hosts = self.directory / "hosts"

    # what is there

    def hosts(self) -> dict[str, Host]:
        """All hosts by name; what was left before it had a record is none."""
        return {
            name: hosts.load(self._hosts / name)
            for name in entries(self._hosts)
            if (self._hosts / name / "host.json").exists()
        }

    def host(self, name: str) -> Host:
        found = self.hosts()
        if name not in found:
            raise TestbedError(f"fleet {self.name} has no host {name}: it has {', '.join(found) or 'none'}")
        return found[name]

    @property
    def exists(self) -> bool:
        return (self.directory / "fleet.json").exists()

    @property
    def slot(self) -> int:
        if not self.exists:
            raise TestbedError(f"fleet {self.name} is not up: run fleet.py --fleet {self.name} up NAME...")
        return int(read_json(self.directory / "fleet.json")["slot"])

    def addresses(self) -> dict[str, str]:
        found = self.hosts()
        return {name: addresses.address(self.slot, host.number) for name, host in found.items()}

    # what changes it

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        with self.store.lock(f"fleet-{self.name}"):
            yield

    def up(self, names: t.Sequence[str], image: str | None, binds: t.Sequence[str]) -> None:
        """Creates what is missing and starts what is off."""
        names = [hosts.check_name(name) for name in dict.fromkeys(names)]
        binds = [hosts.check_bind(bind) for bind in binds]
        with self.locked():
            present = self.hosts()
            for name in names:
                if name in present and image not in (None, present[name].image):
                    raise TestbedError(
                        f"{name} stands on image {present[name].image or 'none'}: down it first, or leave --image out"
                    )
                if name in present and binds and binds != present[name].binds:
                    raise TestbedError(f"{name} has other binds: down it first, or leave --bind out")
            self._create_network()
            with self.store.lock("store"):
                # The lock keeps image and base from being removed before the records name them.
                foundation = images.load(self.store, image).base if image else base.require(self.store)
                for name in names:
                    if name not in present:
                        number = addresses.choose_number({host.number for host in present.values()})
                        present[name] = Host(name, number, image, foundation, list(binds))
                        self._create(present[name])
            self._write_names(present)
            self._tell_names([host for host in present.values() if alive(host.process)])
            self._boot([present[name] for name in names if not alive(present[name].process)])

    def start(self, names: t.Sequence[str]) -> None:
        with self.locked():
            network.make_bridge(self.slot)
            self._boot([host for host in map(self.host, names) if not alive(host.process)])

    def stop(self, names: t.Sequence[str]) -> list[str]:
        """Shuts hosts down; the names of those that had to be killed because they did not end."""
        with self.locked():
            return self._stop([self.host(name) for name in names])

    def reboot(self, names: t.Sequence[str]) -> list[str]:
        with self.locked():
            chosen = [self.host(name) for name in names]
            killed = self._stop(chosen)
            self._boot(chosen)
            return killed

    def kill(self, names: t.Sequence[str]) -> None:
        with self.locked():
            self._kill([self.host(name) for name in names])

    def cut(self, names: t.Sequence[str], cut: bool) -> None:
        """Pulls the network cables, or plugs them in."""
        with self.locked():
            for host in [self.host(name) for name in names]:
                if alive(host.process):
                    (network.cut if cut else network.mend)(self.slot, host.number)
                host.cut = cut
                self._save(host)

    def image(self, name: str, image: str) -> None:
        hosts.check_name(image)
        with self.locked(), self.store.lock("store"):
            host = self.host(name)
            if alive(host.process):
                raise TestbedError(f"{name} is running: run fleet.py stop {name} first, so that its files are at rest")
            if image in entries(self.store.images):
                raise TestbedError(
                    f"there is an image {image} already: run fleet.py rmimage {image}, or choose another name"
                )
            made = images.Image(image, host.image, host.base)
            # The record first: if this ends half-way the host misses its image instead of losing its files unseen.
            host.image = image
            self._save(host)
            images.save(self.store, made, self._hosts / name / "upper")

    def down(self, names: t.Sequence[str]) -> None:
        """Removes hosts, or, if none are named, the fleet with whatever is left of it."""
        with self.locked():
            if not self.directory.exists():
                return
            present = self.hosts()
            chosen = [self.host(name) for name in names] if names else list(present.values())
            self._kill(chosen)
            if names:
                for host in chosen:
                    self.store.remove(self._hosts / host.name)
                    del present[host.name]
                self._write_names(present)
                self._tell_names([host for host in present.values() if alive(host.process)])
            else:
                if self.exists:
                    network.remove_bridge(self.slot)
                self.store.remove(self.directory)

    def push(self, name: str, source: pathlib.Path, target: str) -> None:
        """Copies a file to the file ``target``, or what is in a directory into the directory ``target``."""
        host = self.host(name)
        if source.is_dir():
            script = 'mkdir -p "$1" && exec tar -C "$1" --no-same-owner -xpf -'
            pack = ["tar", "-C", str(source), "-cf", "-", "."]
        elif source.is_file():
            mode = f"{source.stat().st_mode & 0o7777:o}"
            script = f'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod {mode} "$1"'
            pack = ["cat", "--", str(source)]
        else:
            raise TestbedError(f"{source} is neither a file nor a directory of this machine")
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            done = subprocess.run(hosts.inside(host, ["/bin/sh", "-c", script, "sh", target]), stdin=packing.stdout)
        if done.returncode or packing.returncode:
            raise TestbedError(f"{source} did not get to {target} of {name}")

    # how

    def _save(self, host: Host) -> None:
        hosts.save(self._hosts / host.name, host)

    def _create(self, host: Host) -> None:
        directory = self._hosts / host.name
        # Without a record it is what an interrupted command left.
        self.store.remove(directory)
        (directory / "upper").mkdir(parents=True)
        self._save(host)

    def _create_network(self) -> None:
        self._hosts.mkdir(parents=True, exist_ok=True)
        if not self.exists:
            with self.store.lock("store"):
                taken = {int(read_json(path)["slot"]) for path in self.store.fleets.glob("*/fleet.json")}
                last = self.store.fleets / ".last-slot.json"
                slot = addresses.choose_slot(
                    int(read_json(last)["slot"]) if last.exists() else 0, taken, network.networks_in_use()
                )
                write_json(last, {"slot": slot})
                write_json(self.directory / "fleet.json", {"slot": slot})
        network.make_bridge(self.slot)

    def _write_names(self, present: dict[str, Host]) -> None:
        lines = [
            " ".join(dict.fromkeys([addresses.address(self.slot, host.number), name, name.split(".")[0]]))
            for name, host in sorted(present.items())
        ]
        (self.directory / "names").write_text("".join(f"{line}\n" for line in lines))

    def _tell_names(self, running: t.Sequence[Host]) -> None:
        for host in running:
            with open(self.directory / "names", "rb") as names:
                subprocess.run(hosts.inside(host, ["/usr/lib/testbed/names"]), stdin=names, check=True)

    def _boot(self, chosen: t.Sequence[Host]) -> None:
        if not chosen:
            return
        slot = self.slot
        with self.store.lock("store"):
            top = seed.make(self.store)
        starting = []
        for host in chosen:
            layers = [top, *images.layers(self.store, host.image, host.base)]
            starting.append(
                Starting(self.store, self._hosts / host.name, host, layers, addresses.address(slot, host.number))
            )
        network.plug(slot, [(each.host.number, each.identify(), each.host.cut) for each in starting])
        for each in starting:
            each.go_on()
        for each in starting:
            each.wait_for_ssh()

    def _stop(self, chosen: t.Sequence[Host]) -> list[str]:
        for host in chosen:
            hosts.request_shutdown(host)
        wait_for_end([host.process for host in chosen if host.process], hosts.SHUTDOWN_SECONDS)
        late = [host.name for host in chosen if alive(host.process)]
        self._kill(chosen)
        return late

    def _kill(self, chosen: t.Sequence[Host]) -> None:
        for host in chosen:
            hosts.cut_power(host)
        left = wait_for_end([host.process for host in chosen if host.process], 10)
        if left:
            raise TestbedError(f"processes {[process.pid for process in left]} do not end: see their state with ps")
        network.unplug(addresses.port(self.slot, host.number) for host in chosen)
        for host in chosen:
            host.process = None
            self._save(host)


def run_inside(host: Host, command: t.Sequence[str]) -> t.NoReturn:
    """Becomes the command in the host."""
    line = hosts.inside(host, command)
    os.execvp(line[0], line)
