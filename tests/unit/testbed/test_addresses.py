# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed import addresses
from testbed.errors import TestbedError

slots = st.sampled_from(addresses.SLOTS)
hosts = st.tuples(slots, st.sampled_from(addresses.NUMBERS))


@pytest.mark.parametrize(
    ("slot", "number", "address", "mac", "port"),
    [
        (1, 2, "198.18.1.2", "02:67:66:00:01:02", "gf1h2"),
        (255, 254, "198.18.255.254", "02:67:66:00:ff:fe", "gf255h254"),
        (256, 2, "198.19.0.2", "02:67:66:01:00:02", "gf256h2"),
        (511, 254, "198.19.255.254", "02:67:66:01:ff:fe", "gf511h254"),
    ],
)
def test_names_and_addresses(slot: int, number: int, address: str, mac: str, port: str) -> None:
    assert (addresses.address(slot, number), addresses.mac(slot, number), addresses.port(slot, number)) == (
        address,
        mac,
        port,
    )
    assert addresses.gateway(slot) == address.rsplit(".", 1)[0] + ".1"
    assert addresses.port(slot, number).startswith(addresses.bridge(slot))


@given(hosts, hosts)
def test_no_two_hosts_share_anything(one: tuple[int, int], other: tuple[int, int]) -> None:
    for name in (addresses.address, addresses.mac, addresses.port):
        assert (name(*one) == name(*other)) == (one == other)


@given(hosts)
def test_hosts_lie_in_their_network_beside_this_machine(host: tuple[int, int]) -> None:
    network = addresses.network(host[0])
    address = ipaddress.IPv4Address(addresses.address(*host))
    assert address in network
    assert network.subnet_of(addresses.RANGE)
    assert str(address) != addresses.gateway(host[0])
    assert address != network.broadcast_address


@given(hosts)
def test_interface_names_are_short_enough_for_the_kernel(host: tuple[int, int]) -> None:
    assert len(addresses.port(*host)) <= 15


@given(st.integers(0, 511), st.sets(slots, max_size=510))
def test_a_chosen_slot_is_free_and_the_next_one_round(last: int, taken: set[int]) -> None:
    slot = addresses.choose_slot(last, taken, [])
    assert slot in addresses.SLOTS
    assert slot not in taken
    passed = range(last + 1, slot) if slot > last else [*range(last + 1, 512), *range(1, slot)]
    assert set(passed) <= taken


def test_slots_whose_network_is_in_use_are_passed_over() -> None:
    used = [ipaddress.IPv4Network("198.18.0.0/22"), ipaddress.IPv4Network("10.0.0.0/8")]
    assert addresses.choose_slot(0, {4}, used) == 5


def test_all_slots_taken() -> None:
    with pytest.raises(TestbedError, match="take fleets down"):
        addresses.choose_slot(7, set(addresses.SLOTS), [])


@given(st.sets(st.sampled_from(addresses.NUMBERS), max_size=252))
def test_the_lowest_free_number_is_chosen(taken: set[int]) -> None:
    number = addresses.choose_number(taken)
    assert number == min(set(addresses.NUMBERS) - taken)


def test_a_full_fleet() -> None:
    with pytest.raises(TestbedError, match="253 hosts"):
        addresses.choose_number(set(addresses.NUMBERS))
