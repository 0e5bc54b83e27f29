# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _background_migrations as older
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._background_migrations_known import (
    DEADLINES,
    STUCK,
    has_ignorable,
    ignorable,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import topology_from_option
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

SHARED = topology_from_option({"main": "gitlabhq_production", "ci": "gitlabhq_production"})
TWO = topology_from_option({"main": "gitlabhq_production", "ci": "gitlabhq_production_ci"})
VERSION = GitLabVersion.parse("14.4.5-ee")

# GitLab's documents, class by class.
DOCUMENTED = {
    "BackfillDraftStatusOnMergeRequests": ("14.2", "1420"),
    "PopulateTopicsTotalProjectsCountCache": ("14.4", "1440"),
    "UpdateVulnerabilityOccurrencesLocation": ("14.5", "1450"),
    "PopulateTopicsNonPrivateProjectsCount": ("14.8", "1480"),
    "ResetDuplicateCiRunnersTokenValuesOnProjects": ("14.9", "1490"),
}


def places(**some: t.Any) -> dict[str, t.Any]:
    return {**dict.fromkeys(older.PLACES, 0), **some}


def answer(**connections: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "engine": True,
        "messages": {
            name: {"remaining": sum(one["queued"] + one["scheduled"] for one in classes.values()), "classes": classes}
            for name, classes in connections.items()
        },
        "present": {name: name != "Gone" for classes in connections.values() for name in (*classes, "Gone", "Row")},
    }


def left(class_name: str = "Some", pending: int = 0, present: bool | None = True, **messages: t.Any) -> older.Left:
    return older.Left("main", class_name, pending, places(**messages), present)


@pytest.mark.parametrize("class_name", DOCUMENTED)
def test_every_documented_one_is_known_with_its_version_and_remedy(class_name: str) -> None:
    since, anchor = DOCUMENTED[class_name]
    known = STUCK[class_name].to_dict()
    assert (known["since"], known["remedy"]) == (since, f"apply_remedies: [{class_name}]")
    assert known["documentation"].endswith(f"gitlab_14_changes/#{anchor}")
    (reason,) = older.reasons(VERSION, [left(class_name, pending=2)], True, [])
    assert reason.startswith(f"{class_name} (main): 2 pending; known: it stays pending")
    assert f"state: cleared and apply_remedies: [{class_name}]" in reason
    # While Sidekiq has messages of it, it may have work to do.
    (reason,) = older.reasons(VERSION, [left(class_name, pending=2, queued=1)], True, [])
    assert "apply_remedies" not in reason


def test_nothing_else_is_known_to_stick_and_the_module_offers_just_these() -> None:
    assert list(STUCK) == list(DOCUMENTED)
    module = Path(older.__file__).parents[1] / "modules" / "background_migrations.py"
    documentation = yaml.safe_load(module.read_text().split('DOCUMENTATION = r"""')[1].split('"""')[0])
    assert documentation["options"]["apply_remedies"]["choices"] == list(STUCK)


@pytest.mark.parametrize(
    ("class_name", "state", "version", "expected"),
    [
        ("BackfillNamespaceIdForNamespaceRoute", "failed", "14.8.6", True),
        ("BackfillNamespaceIdForNamespaceRoute", "failed", "14.9.5", False),
        ("BackfillNamespaceIdForNamespaceRoute", "failed", "14.7.7", False),
        ("BackfillNamespaceIdForNamespaceRoute", "active", "14.8.6", False),
        ("BackfillNamespaceIdForNamespaceRoute", "finalizing", "14.8.6", False),
        ("BackfillNamespaceIdForNamespaceRoute", "failed", None, False),
        ("CopyColumnUsingBackgroundMigrationJob", "failed", "14.8.6", False),
    ],
)
def test_one_failure_of_14_8_can_be_ignored_until_14_9(
    class_name: str, state: str, version: str | None, expected: bool
) -> None:
    one = ignorable(class_name, state, GitLabVersion.parse(version) if version else None)
    assert (one is not None) is expected
    assert not expected or (version and has_ignorable(GitLabVersion.parse(version)))
    assert one is None or "can be ignored until 14.9; retry it there (bbm_retry)" in one.text


def test_without_the_code_no_remedy_is_offered() -> None:
    pending = {"main": {"PopulateTopicsNonPrivateProjectsCount": 1}}
    (unasked,) = older.reasons(VERSION, older.merge(TWO, pending, None).left, True, [])
    assert "apply_remedies" in unasked
    (gone,) = older.reasons(VERSION, older.merge(TWO, pending, {"engine": False}).left, True, [])
    assert "no such class any more" in gone and "apply_remedies" not in gone


def test_rows_and_messages_are_put_together_by_database_and_class() -> None:
    error = {"error_class": "PG::Oops", "error_message": "no", "at": 1795172105.7}
    later = dict(error, error_class="Later", at=1795172106.7)
    said = answer(
        main={"Row": places(queued=1), "Both": places(scheduled=2, retrying=1, error=error)},
        ci={"Both": places(dead=4, error=later)},
    )
    reading = older.merge(SHARED, {"main": {"Row": 3, "Gone": 1}}, said)
    assert [(one.class_name, one.pending, one.remaining, one.failed, one.present) for one in reading.left] == [
        ("Both", 0, 2, 5, True),
        ("Gone", 1, 0, 0, False),
        ("Row", 3, 1, 0, True),
    ]
    last = reading.left[0].last_error
    assert last is not None
    assert (last["exception_class"], last["at"]) == ("Later", "2026-11-20T10:55:06Z")
    assert older.describe(reading, None)["totals"] == {"pending": 4, "remaining": 3, "failed": 5}
    assert [one["class_name"] for one in older.describe(reading, ["Row"])["classes"]] == ["Row"]

    apart = older.merge(TWO, {"main": {"Row": 3}, "ci": {"Row": 2}}, said)
    assert [(one.database, one.class_name) for one in apart.left] == [
        ("main", "Both"),
        ("main", "Row"),
        ("ci", "Both"),
        ("ci", "Row"),
    ]


@pytest.mark.parametrize(("said", "present"), [(None, None), ({"engine": False}, False)])
def test_what_was_not_counted_is_not_zero(said: dict[str, t.Any] | None, present: bool | None) -> None:
    reading = older.merge(TWO, {"main": {}, "ci": {"Row": 2}}, said)
    (one,) = reading.left
    assert (one.pending, one.remaining, one.failed, one.present) == (2, None, None, present)
    assert older.describe(reading, None)["totals"] == {"pending": 2, "remaining": None, "failed": None}
    assert older.describe(older.merge(TWO, {"main": {}}, said), None)["totals"]["remaining"] is None


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (left(queued=1, scheduled=2), "Some (main): 3 in Sidekiq's queue or schedule; let Sidekiq work it off"),
        (left(pending=4), "Some (main): 4 pending; let Sidekiq work it off"),
        (left(dead=1, retrying=1), "Some (main): 2 failed; let Sidekiq work it off"),
        (left(pending=1, running=1), "1 that Sidekiq is working on; wait until Sidekiq has ended"),
        (left(pending=1, present=False), "has no such class any more"),
        (left("MigrateMergeRequestDiffCommitUsers", pending=1), "with state: cleared before GitLab 14.5"),
    ],
)
def test_what_is_left_has_its_reason_and_what_to_do(one: older.Left, words: str) -> None:
    (reason,) = older.reasons(VERSION, [one], True, [])
    assert words in reason


def test_a_deadline_that_has_passed_is_not_given() -> None:
    one = left("MigrateMergeRequestDiffCommitUsers", pending=1)
    (reason,) = older.reasons(GitLabVersion.parse("14.10.5-ee"), [one], True, [])
    assert reason.endswith("run background_migrations with state: cleared")


def test_after_a_run_a_reason_says_what_came_of_it() -> None:
    error = {
        "database": "main",
        "class_name": "Some",
        "arguments": [1, 2],
        "error_class": "NameError",
        "error_message": "first\nsecond",
    }
    (reason,) = older.reasons(VERSION, [left(pending=1)], True, [], [error])
    assert reason == "Some (main): 1 pending; NameError: first (with the arguments [1, 2]). Mend the cause"
    (reason,) = older.reasons(VERSION, [left(pending=1)], True, [], [], {("main", "Some")})
    assert "ran without an error, and its rows stay pending" in reason
    # Those of another database are not of this one.
    (reason,) = older.reasons(VERSION, [left(pending=1)], True, [], [dict(error, database="ci")])
    assert "let Sidekiq" in reason


def test_a_count_of_gitlab_that_no_class_explains_is_not_passed_over() -> None:
    said = answer(main={})
    said["messages"]["main"]["remaining"] = 2
    reading = older.merge(TWO, {"main": {}, "ci": {}}, said)
    totals = older.describe(reading, None)["totals"]
    assert (older.reasons(VERSION, reading.left, True, []), totals["remaining"]) == ([], 2)
    assert "GitLab itself counts 2 that remain" in older.doubt(totals)[0]
    # Of chosen classes it says nothing.
    assert older.describe(reading, ["Some"])["totals"]["remaining"] == 0
    assert older.doubt({"pending": 0, "remaining": None, "failed": None}) == []


def test_failed_messages_count_only_where_they_are_to_be_retried() -> None:
    assert older.reasons(VERSION, [left(dead=1)], False, []) == []
    assert older.reasons(VERSION, [left()], True, []) == []
    (reason,) = older.reasons(VERSION, [], True, [{"database": "main", "class_name": "Some", "arguments": [1]}])
    assert "taken from Sidekiq by a run that was killed" in reason


@given(
    pending=st.integers(0, 3),
    messages=st.fixed_dictionaries({place: st.integers(0, 3) for place in older.PLACES}),
    name=st.sampled_from(["Some", "Gone", *STUCK, *DEADLINES]),
    with_failed=st.booleans(),
)
def test_there_is_a_reason_exactly_where_something_is_left(
    pending: int, messages: dict[str, int], name: str, with_failed: bool
) -> None:
    one = left(name, pending, name != "Gone", **messages)
    waits = pending + messages["queued"] + messages["scheduled"]
    waits += messages["retrying"] + messages["dead"] if with_failed else 0
    assert bool(older.reasons(VERSION, [one], with_failed, [])) is (waits + messages["running"] > 0)
    assert one.attempts(with_failed) == (0 if name == "Gone" else waits)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, None),
        ([], None),
        (["Some", "::Some", "Gitlab::Database::Some"], ["Some", "Gitlab::Database::Some"]),
    ],
)
def test_class_names(names: list[str] | None, expected: list[str] | None) -> None:
    assert older.class_names(names) == expected


@pytest.mark.parametrize("name", ["", "some", "Some::", "Some;", "Some\n", "::", "Some::other", "1Some", "Sömé x"])
def test_what_is_no_class_is_refused(name: str) -> None:
    with pytest.raises(GitLabError, match="is not the name of a class"):
        older.class_names(["Good", name])


@pytest.mark.parametrize(
    ("version", "engine", "words"),
    [("15.0.5", True, []), ("15.1.0", True, ["15.1"]), ("19.2.0", False, ["15.1", "no code"])],
)
def test_what_the_numbers_mean_in_this_version(version: str, engine: bool, words: list[str]) -> None:
    notes = older.notes(GitLabVersion.parse(version), engine)
    assert len(notes) == len(words)
    for note, word in zip(notes, words, strict=True):
        assert word in note


@pytest.mark.parametrize(
    ("output", "rc", "said", "words"),
    [
        ("", 3, {"refused": "GitLab has no connection named sec."}, "no connection named sec"),
        ("", None, None, "disappeared without an exit status"),
        ("Redis::CannotConnectError: Error connecting to Redis\n", 1, None, "did not say what is left in Sidekiq"),
    ],
)
def test_no_answer_is_an_error(output: str, rc: int | None, said: dict[str, t.Any] | None, words: str) -> None:
    error = older.no_answer(output, rc, said)
    assert words in error.msg
    assert error.remedy
