# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.filter.backup_table import FilterModule

backup_table = FilterModule().filters()["backup_table"]

MANIFEST: dict[str, t.Any] = {
    "id": "x",
    "gitlab": {"version": "14.2.7-ee"},
    "archive": {"size": 1_400_000_000},
    "databases": [{"rows": {"public.a": 40, "public.b": 2}}],
    "parts": [{"name": "db"}, {"name": "uploads"}],
    "skipped": [],
    "proved_by_restore": None,
    "copies": [],
}
VERIFIED: dict[str, t.Any] = {"verified": True, "manifest": MANIFEST}


def test_the_table_of_a_fleet() -> None:
    proved = {**MANIFEST, "skipped": ["registry"], "proved_by_restore": {"at": "now"}, "copies": [{}, {}]}
    results = {"acme-1": VERIFIED, "acme-2": {**VERIFIED, "manifest": proved}, "acme-3": {}, "acme-4": VERIFIED}

    assert backup_table(results, {"acme-4": "No room.\nMake some."}) == [
        "INSTANCE  VERSION    VERIFIED  SIZE    BACKUP",
        "acme-1    14.2.7-ee  yes       1.4 GB  x, 42 rows",
        "acme-2    14.2.7-ee  yes       1.4 GB  x, 42 rows, without registry, proved by restore, 2 copies",
        "acme-3    ?          no        ?       failed: it was lost earlier in this run, see above",
        "acme-4    ?          no        ?       failed: No room. Make some.",
        "4 instances: 2 with a verified backup, 2 without",
    ]


def test_a_backup_of_the_database_is_told_as_such() -> None:
    alone = {**MANIFEST, "parts": [{"name": "db"}], "skipped": ["uploads", "registry"]}

    assert backup_table({"acme-1": {**VERIFIED, "manifest": alone}})[1].endswith("x, 42 rows, the database alone")


@pytest.mark.parametrize(
    "result",
    [{}, None, "text", {"verified": False, "manifest": MANIFEST}, {**VERIFIED, "failed": True}, {"verified": "yes"}],
)
def test_what_is_not_known_to_be_verified_is_not(result: t.Any) -> None:
    lines = backup_table({"acme-1": result})

    assert lines[1].split()[2] == "no"
    assert lines[2] == "1 instance: 0 with a verified backup, 1 without"


def test_check_mode_makes_nothing() -> None:
    assert backup_table({"acme-1": {}, "acme-2": {}}, {"acme-2": "No room"}, True) == [
        "INSTANCE  VERSION  VERIFIED  SIZE  BACKUP",
        "acme-1    ?        -         ?     nothing was made, only tried",
        "acme-2    ?        no        ?     failed: No room",
        "2 instances: 1 could be backed up, 1 could not",
    ]


@pytest.mark.parametrize("results", [None, [], "x"])
def test_anything_but_a_mapping_is_refused(results: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="a mapping"):
        backup_table(results)
