# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's network on this machine: one bridge, and a port with a cable for each host."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import typing as t

from . import addresses
from .errors import TestbedError
from .store import need


def run_batch(lines: t.Sequence[str]) -> None:
    """Runs ip commands in one go; the first that fails ends it."""
    if not lines:
        return
    need(["ip"])
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
    if done.returncode != 0:
        raise TestbedError(f"ip refused the fleet's network: {' '.join(done.stderr.split())}")


def _show(*arguments: str) -> list[dict[str, t.Any]]:
    need(["ip"])
    output = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout
    # Asked for nothing that exists, ip prints nothing at all.
    found: list[dict[str, t.Any]] = json.loads(output or "[]")
    return found


def interfaces() -> set[str]:
    return {link["ifname"] for link in _show("link", "show")}


def networks_in_use() -> list[ipaddress.IPv4Network]:
    return [
        ipaddress.IPv4Network((entry["local"], entry["prefixlen"]), strict=False)
        for link in _show("-4", "address", "show")
        for entry in link["addr_info"]
    ]


def make_bridge(slot: int) -> None:
    name = addresses.bridge(slot)
    if name not in interfaces():
        # In this order, so that a bridge that has its address is complete.
        run_batch([f"link add {name} type bridge", f"link set {name} up"])
    if addresses.network(slot) not in networks_in_use():
        run_batch([f"address add {addresses.gateway(slot)}/24 dev {name}", f"link set {name} up"])


def remove_bridge(slot: int) -> None:
    """Removes the bridge with all that is plugged into it."""
    name = addresses.bridge(slot)
    if name in interfaces():
        unplug(link["ifname"] for link in _show("link", "show", "master", name))
        run_batch([f"link delete {name}"])


def plug(slot: int, hosts: t.Sequence[tuple[int, int, bool]]) -> None:
    """Gives each host (number, pid, cut) its eth0, with the other end in the bridge."""
    unplug(addresses.port(slot, number) for number, _pid, _cut in hosts)
    lines = []
    for number, pid, cut in hosts:
        port = addresses.port(slot, number)
        lines.append(f"link add {port} type veth peer name eth0 address {addresses.mac(slot, number)} netns {pid}")
        lines.append(f"link set {port} master {addresses.bridge(slot)} {'down' if cut else 'up'}")
    run_batch(lines)


def unplug(ports: t.Iterable[str]) -> None:
    """Removes ports; those of hosts that ended may be gone already."""
    present = interfaces()
    for port in ports:
        if port in present:
            # Between the look and the act the kernel may remove it with its host's namespace.
            subprocess.run(["ip", "link", "delete", port], stderr=subprocess.DEVNULL)


def cut(slot: int, number: int) -> None:
    run_batch(
        [
            # Known neighbours are not asked for: what is sent vanishes, as behind a router.
            f"neighbour replace {addresses.address(slot, number)} lladdr {addresses.mac(slot, number)}"
            f" dev {addresses.bridge(slot)} nud permanent",
            f"link set {addresses.port(slot, number)} down",
        ]
    )


def mend(slot: int, number: int) -> None:
    run_batch(
        [
            f"link set {addresses.port(slot, number)} up",
            f"neighbour replace {addresses.address(slot, number)} lladdr {addresses.mac(slot, number)}"
            f" dev {addresses.bridge(slot)} nud stale",
        ]
    )
