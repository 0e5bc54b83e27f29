# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads apt's own source lists, to install the hosts' packages from where this machine gets its own."""

from __future__ import annotations

import re


def debian_sources(texts: dict[str, str], release: str) -> list[str]:
    """One-line ``deb`` entries of Debian's main archive for a release, from apt files by name.

    Both formats of sources.list(5) are read. Sources of others, which carry suites or
    components of their own, are left out.
    """
    suites = {release, f"{release}-updates", f"{release}-security"}
    found: list[str] = []
    for name in sorted(texts):
        read = _stanzas if name.endswith(".sources") else _lines
        for options, uri, suite, components in read(texts[name]):
            if suite in suites and "main" in components:
                entry = " ".join(filter(None, ["deb", options, uri, suite, "main"]))
                if entry not in found:
                    found.append(entry)
    return found


def _lines(text: str) -> list[tuple[str, str, str, list[str]]]:
    """Entries of a one-line-style file: (options, URI, suite, components)."""
    pattern = re.compile(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", re.MULTILINE)
    return [
        (_options(_keyring(options or "")), uri, suite, components.split())
        for options, uri, suite, components in pattern.findall(text)
    ]


def _keyring(options: str) -> str:
    found = re.search(r"\bsigned-by=(\S+)", options)
    return found.group(1) if found else ""


def _options(keyring: str) -> str:
    return f"[signed-by={keyring}]" if keyring.startswith("/") else ""


def _stanzas(text: str) -> list[tuple[str, str, str, list[str]]]:
    """Entries of a deb822-style file, one for each pair of URI and suite."""
    entries = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)):
        fields = {
            key.lower(): " ".join(value.split())
            for key, value in re.findall(r"^(\S+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        entries += [
            (_options(fields.get("signed-by", "")), uri, suite, fields.get("components", "").split())
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return entries
