# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.filter.status_table import FilterModule

status_table = FilterModule().filters()["status_table"]

ACTIVE: dict[str, t.Any] = {
    "id": "main_85",
    "database": "main",
    "job_class_name": "BackfillX",
    "table_name": "projects",
    "state": "active",
    "progress": {"percent": 42.17},
    "rate": 812.0,
    "eta_seconds": 11400,
    "eta_basis": "some",
    "stalled": False,
    "stalled_reasons": [],
}
WAITING = dict(
    ACTIVE, id="main_86", rate=None, eta_seconds=None, eta_basis="no estimate: it waits for its turn behind main_85"
)
PAUSED = dict(
    ACTIVE,
    id="ci_7",
    state="paused",
    rate=None,
    eta_seconds=None,
    stalled=True,
    stalled_reasons=["it is paused: a", "b"],
)


def result(
    *migrations: dict[str, t.Any], done: int = 3, pending: int = 0, down: t.Iterable[str] = (), **values: t.Any
) -> dict[str, t.Any]:
    by_state: dict[str, list[str]] = {"finished": ["x"] * (done - 1), "finalized": ["x"]}
    for migration in migrations:
        by_state.setdefault(migration["state"], []).append(migration["id"])
    return {
        "gitlab_version": "14.2.7-ee",
        "databases": [
            {"name": "main", "schema_migrations_down": list(down)},
            {"name": "ci", "schema_migrations_down": None},
        ],
        "by_state": by_state,
        "migrations": list(migrations),
        "blocking": [migration["id"] for migration in migrations],
        "background_migrations": {"total": pending},
        "safe_to_upgrade": not migrations and not pending and not down,
        "reasons": [],
        "failed": False,
        **values,
    }


def test_the_table() -> None:
    lines = status_table(
        {
            "globex": result(gitlab_version="17.8.7-ee"),
            "acme-1": result(ACTIVE, WAITING, PAUSED),
            "lost": {"unreachable": True, "msg": "ssh:\n  no  route", "changed": False},
            "down": {"failed": False, "failed_when_result": False, "msg": "The database does not answer."},
            "dead": {"failed": True, "msg": "The database does not answer."},
            "never": {},
            "half-way": result(down=["20210617022324", "20210709024048"], reasons=["said in the column already"]),
            "old": result(pending=4),
            "standby": result(safe_to_upgrade=False, reasons=["the database main was read from a standby"]),
        },
        {"globex": "It stopped.", "old": "", "dead": "The database does not answer."},
    )
    assert lines == [
        "INSTANCE  VERSION    SAFE     MIGRATIONS",
        "acme-1    14.2.7-ee  no       2 active, 1 paused, 3 done",
        "          main_85    42 %     active  812 /s  about 3 h 10 min left  BackfillX on projects",
        "          main_86    42 %     active  it waits for its turn behind main_85  BackfillX on projects",
        "          ci_7       42 %     paused  BackfillX on projects  STALLED: it is paused: a; b",
        "dead      ?          unknown  failed: The database does not answer",
        "down      ?          unknown  not read: The database does not answer.",
        "globex    17.8.7-ee  no       failed: It stopped, 3 done",
        "half-way  14.2.7-ee  no       3 done, 2 schema migrations down",
        "lost      ?          unknown  unreachable: ssh: no route",
        "never     ?          unknown  not read: it was lost earlier in this run, see above",
        "old       14.2.7-ee  no       3 done, 4 non-batched pending",
        "standby   14.2.7-ee  no       3 done, the database main was read from a standby",
        "9 instances: 0 safe to upgrade, 5 not, 4 unknown",
    ]


def test_one_instance_that_is_safe() -> None:
    assert status_table({"a": result()})[1:] == [
        "a         14.2.7-ee  yes   3 done",
        "1 instance: 1 safe to upgrade, 0 not, 0 unknown",
    ]


def test_no_instance() -> None:
    assert status_table({}) == [
        "INSTANCE  VERSION  SAFE  MIGRATIONS",
        "0 instances: 0 safe to upgrade, 0 not, 0 unknown",
    ]


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
        st.one_of(
            st.just(result()),
            st.dictionaries(st.text(), st.text()),
            st.builds(lambda text: result(safe_to_upgrade=True, failed=True, msg=text), st.text()),
        ),
    )
)
def test_what_is_not_known_is_never_safe(results: dict[str, t.Any]) -> None:
    safe = sum(value == result() for value in results.values())
    assert status_table(results)[-1].endswith(f": {safe} safe to upgrade, 0 not, {len(results) - safe} unknown")


def test_a_long_reason_is_whole_and_goes_on_below_itself() -> None:
    words = [f"word{number}" for number in range(300)] + ["/a/path/" * 30]
    lines = status_table({"a": {"msg": "\n".join(words)}, "b": result()})
    head = "a         ?          unknown  "
    assert lines[1].startswith(head + "not read: word0 ")
    assert all(line.startswith(" " * len(head) + "word") for line in lines[2:-3])
    assert all(len(line) <= len(head) + 120 for line in lines[:-3])
    assert " ".join(" ".join(lines[1:-2]).split()) == f"a ? unknown not read: {' '.join(words)}"
    assert lines[-2] == "b         14.2.7-ee  yes      3 done"


def test_what_was_never_run_is_counted_beside_what_is_unfinished() -> None:
    lines = status_table({"a": result(ACTIVE, unproven=["main_1"], reasons=["long"])})
    assert lines[1] == "a         14.2.7-ee  no    1 active, 3 done, 1 finished without a job"


@pytest.mark.parametrize("wrong", [[], "text", None])
def test_another_type_is_refused(wrong: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"gitlab_fleet\.upgrade\.status_table: a mapping"):
        status_table(wrong)
