# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollbacks import BACK, BEGUN, FAILED, FINISHED, MANIFEST, MINE, NEWER, NODE, OPTIONS, OTHER, SAME, THERE

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback as rb
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Check, Copy
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._direct_connection import Direct, Server
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore_place import Place
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection

BOUNCER = Connection("main", "gitlabhq_production", "127.0.0.1", "6432")


def checks(facts: rb.Facts, options: rb.Options = OPTIONS) -> list[str]:
    return [reason.check for reason in rb.reasons(facts, options)]


def test_a_failed_upgrade_can_be_rolled_back() -> None:
    assert rb.state(FAILED, OPTIONS) == rb.ROLL_BACK
    assert rb.reasons(FAILED, OPTIONS) == []
    assert rb.steps(FAILED, OPTIONS) == [
        "install GitLab 14.0.12-ee in the place of 14.2.7-ee",
        "put the configuration of the backup back",
        "reconfigure",
        "empty Redis",
        "drop everything in the databases",
        "restore everything from 1700535909_2023_11_21_14.0.12-ee",
        "start the services",
        "prove the result",
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(FAILED, rb.ROLL_BACK, id="failed on the new version"),
        pytest.param(replace(FAILED, schemas=[SAME]), rb.ROLL_BACK, id="failed before its first migration"),
        pytest.param(BACK, rb.ROLL_BACK, id="old package, newer database"),
        pytest.param(replace(BACK, package_state="unpacked"), rb.ROLL_BACK, id="old package, not configured"),
        pytest.param(replace(BACK, schemas=[replace(SAME, rows=None)]), rb.ROLL_BACK, id="database emptied"),
        pytest.param(replace(BACK, schemas=[SAME], record=BEGUN), rb.ROLL_BACK, id="restore begun"),
        pytest.param(
            replace(BACK, schemas=[replace(SAME, newest="20210101")]), rb.ROLL_BACK, id="database of an older version"
        ),
        pytest.param(replace(BACK, schemas=[SAME], record=FINISHED), rb.RESTORED, id="restored, not at its end"),
        pytest.param(
            replace(BACK, schemas=[SAME], record={**FINISHED, "sha256": OTHER}), rb.ROLL_BACK, id="another one restored"
        ),
        pytest.param(replace(FAILED, record=FINISHED), rb.ROLL_BACK, id="upgraded again after a restore"),
        pytest.param(replace(BACK, record=FINISHED), rb.ROLL_BACK, id="restored, and newer all the same"),
        pytest.param(
            replace(BACK, schemas=[replace(SAME, rows=None)], record=FINISHED),
            rb.ROLL_BACK,
            id="restored, then emptied",
        ),
        pytest.param(replace(BACK, schemas=[SAME]), rb.NOTHING, id="as it was"),
        pytest.param(
            replace(BACK, schemas=[replace(SAME, rows=31, newest="20210612")]),
            rb.NOTHING,
            id="more migrations of the same version",
        ),
    ],
)
def test_how_an_instance_stands_to_the_backup(facts: rb.Facts, expected: str) -> None:
    assert rb.state(facts, OPTIONS) == expected


@pytest.mark.parametrize(
    ("record", "database_only", "expected"),
    [
        (FINISHED, False, rb.RESTORED),
        (FINISHED, True, rb.RESTORED),
        ({**FINISHED, "database_only": True}, True, rb.RESTORED),
        ({**FINISHED, "database_only": True}, False, rb.ROLL_BACK),
        (BEGUN, True, rb.ROLL_BACK),
    ],
)
def test_the_databases_alone_are_not_everything(record: dict[str, object], database_only: bool, expected: str) -> None:
    assert (
        rb.state(replace(BACK, schemas=[SAME], record=record), replace(OPTIONS, database_only=database_only))
        == expected
    )


@given(st.sampled_from([SAME, NEWER, replace(SAME, rows=None)]), st.booleans())
def test_what_has_begun_and_not_ended_is_never_nothing_to_do(schema: rb.Schema, database_only: bool) -> None:
    facts = replace(BACK, schemas=[schema], record={**BEGUN, "unpacked": False})
    assert rb.is_begun(facts.record, MANIFEST)
    assert rb.state(facts, replace(OPTIONS, database_only=database_only)) == rb.ROLL_BACK


SKIPPED = replace(MANIFEST, skipped=("registry", "repositories"))
KEPT = replace(OPTIONS, configuration=rb.KEEP)


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        pytest.param(
            replace(FAILED, manifest=replace(MANIFEST, verified=False, checks=(Check("dump", False, "cut"),))),
            OPTIONS,
            ["backup"],
            id="not verified",
        ),
        pytest.param(
            replace(FAILED, changed_archives=["x has 9 bytes, 10 when it was verified."], archived_secrets=None),
            OPTIONS,
            ["backup"],
            id="tampered",
        ),
        pytest.param(
            replace(FAILED, changed_configuration="It is not there any more.", archived_secrets=None),
            OPTIONS,
            ["configuration"],
            id="configuration lost",
        ),
        pytest.param(replace(FAILED, version="14.2.7"), OPTIONS, ["edition"], id="CE over an EE backup"),
        pytest.param(replace(FAILED, version="13.12.1-ee"), OPTIONS, ["version"], id="older than the backup"),
        pytest.param(replace(FAILED, package_missing="They do not have it."), OPTIONS, ["package"], id="no package"),
        pytest.param(
            replace(FAILED, place=replace(THERE, exists=False)), OPTIONS, ["place"], id="not where it is looked for"
        ),
        pytest.param(replace(FAILED, place=replace(THERE, same=False)), OPTIONS, ["place"], id="another file there"),
        pytest.param(replace(FAILED, place=replace(THERE, readable=False)), OPTIONS, ["place"], id="not readable"),
        pytest.param(replace(FAILED, connections=[BOUNCER]), OPTIONS, ["connection"], id="through PgBouncer"),
        pytest.param(
            replace(FAILED, connections=[BOUNCER]),
            replace(OPTIONS, direct=Direct(Server("10.0.0.5", 5432))),
            [],
            id="past PgBouncer",
        ),
        pytest.param(
            replace(
                FAILED,
                version="16.7.0-ee",
                manifest=replace(MANIFEST, gitlab=replace(MANIFEST.gitlab, version="16.5.1-ee")),
            ),
            replace(OPTIONS, direct=Direct(Server("10.0.0.5", 5432))),
            ["connection"],
            id="a version that is deaf to it",
        ),
        pytest.param(replace(FAILED, free=2999), OPTIONS, ["space"], id="one byte too few"),
        pytest.param(replace(FAILED, free=2000, record=BEGUN), OPTIONS, [], id="unpacked already"),
        pytest.param(replace(FAILED, free=1999, record=BEGUN), OPTIONS, ["space"], id="too few, even unpacked"),
        pytest.param(
            replace(FAILED, free=2999, record={**BEGUN, "unpacked": False}),
            OPTIONS,
            ["space"],
            id="begun, not unpacked",
        ),
        pytest.param(replace(FAILED, free=2999, record=FINISHED), OPTIONS, ["space"], id="restored and unpacked once"),
        pytest.param(replace(FAILED, manifest=SKIPPED), OPTIONS, ["parts"], id="no repositories in it"),
        pytest.param(
            replace(FAILED, manifest=SKIPPED), replace(OPTIONS, database_only=True), [], id="none are asked for"
        ),
        pytest.param(
            replace(BACK, schemas=[SAME], record={**BEGUN, "database_only": False}),
            replace(OPTIONS, database_only=True),
            ["parts"],
            id="the databases alone, after half a restore of everything",
        ),
        pytest.param(
            replace(BACK, manifest=SKIPPED, schemas=[SAME], record={**BEGUN, "backup": "other", "sha256": OTHER}),
            replace(OPTIONS, database_only=True),
            ["parts"],
            id="a backup without files, after half a restore of another one with them",
        ),
        pytest.param(
            replace(BACK, schemas=[SAME], record={**BEGUN, "unpacked": False}),
            replace(OPTIONS, database_only=True),
            [],
            id="the databases alone, nothing unpacked yet",
        ),
        pytest.param(
            replace(FAILED, schemas=[NEWER, replace(NEWER, name="ci", dbname="gitlabhq_production_ci")]),
            OPTIONS,
            ["databases"],
            id="a database that is not in it",
        ),
        pytest.param(replace(FAILED, archived_secrets=OTHER), OPTIONS, ["secrets"], id="wrong secrets in its archive"),
        pytest.param(replace(FAILED, archived_secrets=None), OPTIONS, ["secrets"], id="no secrets in its archive"),
        pytest.param(
            replace(FAILED, manifest=replace(MANIFEST, configuration=None)),
            OPTIONS,
            ["configuration"],
            id="no configuration in it",
        ),
        pytest.param(FAILED, KEPT, ["secrets"], id="wrong secrets are to be kept"),
        pytest.param(replace(FAILED, secrets={NODE: MINE}), KEPT, [], id="right secrets are to be kept"),
        pytest.param(
            replace(FAILED, secrets={NODE: MINE, "sidekiq-1": OTHER}), OPTIONS, ["secrets"], id="wrong on another node"
        ),
        pytest.param(
            replace(FAILED, secrets={NODE: MINE, "sidekiq-1": None}), OPTIONS, ["secrets"], id="none on another node"
        ),
        pytest.param(FAILED, rb.Options("renamed"), ["secrets"], id="a node that the manifest does not know"),
        pytest.param(replace(FAILED, postgresql=rb.PostgreSQL(12, True)), OPTIONS, ["postgresql"], id="older server"),
        pytest.param(
            replace(FAILED, version="14.2.7", free=0, package_missing="No."),
            OPTIONS,
            ["edition", "package", "space"],
            id="all at once",
        ),
    ],
)
def test_what_forbids_it_is_told_all_at_once(facts: rb.Facts, options: rb.Options, expected: list[str]) -> None:
    assert checks(facts, options) == expected


@pytest.mark.parametrize(
    ("postgresql", "wanted", "expected"),
    [
        (rb.PostgreSQL(13, True), 13, None),
        (rb.PostgreSQL(14, False), 13, None),
        (rb.PostgreSQL(14, True, (12, 13), (13, 14)), 13, rb.REVERT),
        (rb.PostgreSQL(14, True, (12,), (12, 13, 14)), 13, "has nothing to go back to"),
        (rb.PostgreSQL(14, True, (13,), (14, 15)), 13, "does not bring PostgreSQL 13 any more"),
        (rb.PostgreSQL(14, True), 13, "has nothing to go back to"),
        (rb.PostgreSQL(12, True, (13,)), 13, "an older server does not load"),
        (rb.PostgreSQL(12, False), 13, "an older server does not load"),
    ],
)
def test_what_postgresql_needs(postgresql: rb.PostgreSQL, wanted: int, expected: str | None) -> None:
    step = rb.postgresql_step(postgresql, wanted)
    if isinstance(step, rb.Reason):
        assert expected is not None
        assert expected in step.text
    else:
        assert step == expected


def test_postgresql_goes_back_before_the_package_does() -> None:
    facts = replace(FAILED, postgresql=rb.PostgreSQL(14, True, (13,), (13, 14)))
    assert rb.reasons(facts, OPTIONS) == []
    assert rb.steps(facts, OPTIONS)[0] == "go back to PostgreSQL 13"


def test_after_the_restore_only_the_rest_is_left() -> None:
    facts = replace(BACK, schemas=[SAME], record=FINISHED)
    assert rb.steps(facts, OPTIONS) == ["start the services", "prove the result"]
    assert rb.steps(replace(facts, record=None), OPTIONS) == []


def test_where_the_lost_configuration_can_be_had_from() -> None:
    copy = Copy("controller", "/srv/gitlab-backups/acme-1/x/x_gitlab_backup.tar", MINE, "2023-11-21T03:11:00Z")
    lost = replace(
        FAILED,
        manifest=MANIFEST.with_copy(copy),
        changed_configuration="It is not there any more.",
        archived_secrets=None,
    )

    [reason] = rb.reasons(lost, OPTIONS)
    assert "controller:/srv/gitlab-backups/acme-1/x/c.tar" in reason.remedy
    kept = replace(OPTIONS, configuration=rb.KEEP)
    assert rb.reasons(replace(lost, secrets={NODE: MINE}), kept) == []


FACTS = st.builds(
    rb.Facts,
    manifest=st.builds(
        replace, st.just(MANIFEST), verified=st.booleans(), skipped=st.sampled_from([(), ("repositories",)])
    ),
    version=st.sampled_from(["14.0.12-ee", "14.2.7-ee", "14.2.7", "13.12.1-ee"]),
    package_state=st.sampled_from([None, "installed", "half-configured"]),
    schemas=st.lists(st.sampled_from([SAME, NEWER, replace(SAME, rows=None)]), min_size=1, max_size=2),
    postgresql=st.builds(
        rb.PostgreSQL, st.integers(12, 14), st.booleans(), st.sampled_from([(), (13,)]), st.sampled_from([(), (13, 14)])
    ),
    free=st.integers(0, 4000),
    place=st.builds(Place, st.just("/x"), st.booleans(), st.booleans(), st.booleans(), st.just("git")),
    connections=st.sampled_from([(), (BOUNCER,)]),
    changed_archives=st.sampled_from([[], ["It is not there any more."]]),
    package_missing=st.sampled_from([None, "No."]),
    secrets=st.dictionaries(st.sampled_from([NODE, "sidekiq-1"]), st.sampled_from([MINE, OTHER, None])),
    archived_secrets=st.sampled_from([MINE, OTHER, None]),
    changed_configuration=st.sampled_from([None, "It is not there any more."]),
    record=st.sampled_from([None, BEGUN, FINISHED]),
)


@given(FACTS, st.builds(rb.Options, st.just(NODE), st.sampled_from([rb.FROM_BACKUP, rb.KEEP]), st.booleans()))
def test_nothing_is_possible_that_one_check_alone_forbids(facts: rb.Facts, options: rb.Options) -> None:
    found = rb.reasons(facts, options)
    if not found:
        manifest = facts.manifest
        assert manifest.verified
        assert not facts.changed_archives
        assert not facts.connections
        assert facts.place.exists
        assert facts.place.same
        assert facts.place.readable
        assert facts.version.endswith("-ee")
        assert facts.free >= 2 * manifest.archive.size
        assert options.database_only or "repositories" not in manifest.skipped
        kept = options.configuration == rb.KEEP
        assert (facts.secrets.get(NODE) if kept else facts.archived_secrets) == MINE
        assert kept or not facts.changed_configuration
        assert facts.postgresql.major >= 13
        if facts.postgresql.major == 14 and facts.postgresql.packaged:
            assert facts.postgresql.kept_majors
            assert facts.postgresql.bundled_majors
    for reason in found:
        assert reason.text
        assert reason.remedy.endswith((".", ").", "keep.", "true."))
        assert "{" not in f"{reason}"


@given(FACTS)
def test_the_order_of_the_steps_is_always_the_same(facts: rb.Facts) -> None:
    order = [
        "PostgreSQL",
        "install",
        "put the configuration",
        "reconfigure",
        "Redis",
        "drop",
        "restore",
        "start",
        "prove",
    ]
    ranks = [next(n for n, word in enumerate(order) if word in step) for step in rb.steps(facts, OPTIONS)]
    assert ranks == sorted(set(ranks))
