# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and addresses of fleets and their hosts: pure functions of two small numbers.

A fleet has a slot (1 to 511), a host has a number in its fleet (2 to 254).
"""

from __future__ import annotations

import ipaddress
import typing as t

from .errors import TestbedError

# RFC 2544 sets this range apart for tests between networks; nothing else routes it.
RANGE = ipaddress.IPv4Network("198.18.0.0/15")
SLOTS = range(1, 512)
NUMBERS = range(2, 255)
# Interface names have at most 15 characters; these stay below 12.
PREFIX = "gf"


def network(slot: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((int(RANGE.network_address) + (slot << 8), 24))


def gateway(slot: int) -> str:
    """The address of this machine in the fleet's network."""
    return str(network(slot)[1])


def address(slot: int, number: int) -> str:
    return str(network(slot)[number])


def mac(slot: int, number: int) -> str:
    """A fixed address, so that neighbours still know a host after its reboot."""
    return f"02:67:66:{slot >> 8:02x}:{slot & 255:02x}:{number:02x}"


def bridge(slot: int) -> str:
    return f"{PREFIX}{slot}"


def port(slot: int, number: int) -> str:
    """The end of a host's network cable that is plugged into the bridge."""
    return f"{PREFIX}{slot}h{number}"


def choose_slot(last: int, taken: t.Container[int], used: t.Sequence[ipaddress.IPv4Network]) -> int:
    """The next slot after ``last`` that no fleet has and whose network nothing on this machine uses.

    Going round instead of taking the lowest keeps SSH connections that a client left open
    to a removed fleet from meeting the hosts of the next one.
    """
    first = SLOTS.start
    for step in range(len(SLOTS)):
        slot = first + (last - first + 1 + step) % len(SLOTS)
        if slot not in taken and not any(network(slot).overlaps(other) for other in used):
            return slot
    raise TestbedError(f"no free network left in {RANGE}: take fleets down")


def choose_number(taken: t.Container[int]) -> int:
    for number in NUMBERS:
        if number not in taken:
            return number
    raise TestbedError(f"a fleet holds at most {len(NUMBERS)} hosts: use another --fleet")
