# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from testbed.sources import debian_sources

DEB822 = """\
Types: deb
# a comment among the fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
 http://second.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_stanzas() -> None:
    assert debian_sources({"debian.sources": DEB822}, "bookworm") == [
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
        "deb http://second.example/debian-security bookworm-security main",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m.example/debian bookworm main", ["deb http://m.example/debian bookworm main"]),
        ("deb http://m.example/debian bookworm main non-free # why", ["deb http://m.example/debian bookworm main"]),
        (
            "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main",
            ["deb [signed-by=/k.gpg] http://m.example/debian bookworm main"],
        ),
        ("deb [arch=amd64] http://m.example/debian bookworm main", ["deb http://m.example/debian bookworm main"]),
        ("# deb http://m.example/debian bookworm main", []),
        ("deb-src http://m.example/debian bookworm main", []),
        ("deb http://m.example/debian trixie main", []),
        ("deb http://apt.other.example/pgdg bookworm-pgdg main", []),
        ("deb http://download.other.example bookworm stable", []),
        ("", []),
    ],
)
def test_lines(line: str, expected: list[str]) -> None:
    assert debian_sources({"sources.list": f"{line}\n"}, "bookworm") == expected


@pytest.mark.parametrize(
    "change",
    [("Types: deb\n", "Types: deb-src\n"), ("Types: deb\n", "Types: deb\nEnabled: no\n"), ("main contrib", "contrib")],
)
def test_stanzas_that_are_left_out(change: tuple[str, str]) -> None:
    stanza = DEB822.partition("\n\n")[0]
    assert debian_sources({"a.sources": stanza}, "bookworm")
    assert debian_sources({"a.sources": stanza.replace(*change)}, "bookworm") == []


def test_the_same_source_in_two_files_is_one() -> None:
    line = "deb http://m.example/debian bookworm main\n"
    assert len(debian_sources({"a.list": line, "sources.list": line}, "bookworm")) == 1


def test_an_embedded_key_is_left_to_the_machines_keyrings() -> None:
    stanza = "Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n abc\n"
    assert debian_sources({"a.sources": stanza}, "bookworm") == ["deb http://m.example/debian bookworm main"]
