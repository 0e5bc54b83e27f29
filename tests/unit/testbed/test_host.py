# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed import host as hosts
from testbed.errors import TestbedError
from testbed.host import Host
from testbed.process import Process, identify

text = st.text(max_size=20)
processes = st.none() | st.builds(Process, st.integers(1), st.integers(0), text)
records = st.builds(Host, text, st.integers(2, 254), st.none() | text, text, st.lists(text), st.booleans(), processes)


@given(records)
def test_a_record_is_read_as_it_was_written(host: Host) -> None:
    assert Host.from_record(host.to_record()) == host


def test_a_record_is_kept_on_disk(tmp_path: pathlib.Path) -> None:
    host = Host("a", 2, "gitlab-17", "0123", ["/a:/b"], True, Process(7, 8, "boot"))
    hosts.save(tmp_path, host)
    assert hosts.load(tmp_path) == host


def test_states() -> None:
    host = Host("a", 2, None, "0123", [])
    assert host.state == "off"
    host.process = Process(1, 0, "an earlier boot")
    assert host.state == "off"
    host.process = identify(1)
    assert host.state == "running"
    host.cut = True
    assert host.state == "cut"


@pytest.mark.parametrize("name", ["a", "acme-1", "gitlab.acme.example", "1", "a" * 63])
def test_good_names(name: str) -> None:
    assert hosts.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "-a", "a-", "A", "a b", "a_b", "a..b", "a\n", "a" * 64, "ä"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(TestbedError, match="no host name"):
        hosts.check_name(name)


def test_a_bind_is_made_absolute(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "link").symlink_to("repo")
    monkeypatch.chdir(tmp_path)
    assert hosts.check_bind("link:/srv/repo") == f"{tmp_path}/repo:/srv/repo"


@pytest.mark.parametrize(
    "bind", ["", "/tmp", "/tmp:", "/tmp:relative", "/tmp:/a:/b", "/tmp:/a/../b", "/nowhere at all:/a", "/dev/null:/a"]
)
def test_bad_binds(bind: str) -> None:
    with pytest.raises(TestbedError, match="--bind"):
        hosts.check_bind(bind)


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize(
    ("port", "state", "expected"),
    [("0016", "0A", True), ("0016", "01", False), ("1600", "0A", False), ("0050", "0A", False)],
)
def test_a_listening_socket_is_found(port: str, state: str, expected: bool) -> None:
    assert hosts.listens(TABLE.format(port=port, state=state), 22) is expected


def test_nothing_listens_in_an_empty_table() -> None:
    assert hosts.listens(TABLE.splitlines()[0] + "\n", 22) is False
