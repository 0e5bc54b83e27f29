# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _schema_migrations as sm
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._schema_migrations import MigrationFile
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import Connection, build_topology

RECORDINGS = pathlib.Path(__file__).parents[3] / "data" / "recordings"

ONE = build_topology([Connection("main", "gitlabhq_main")])
TWO = build_topology([Connection("main", "gitlabhq_main"), Connection("ci", "gitlabhq_ci")])
SHARED = build_topology([Connection("main", "gitlabhq_main"), Connection("ci", "gitlabhq_main", database_tasks=False)])
CI_WITHOUT_TASKS = build_topology(
    [Connection("main", "gitlabhq_main"), Connection("ci", "gitlabhq_ci", database_tasks=False)]
)

GITLABS_ACRONYMS = {"ee": "EE", "csp": "CSP"}


class Recorded(t.NamedTuple):
    """One run of db:migrate:status by GitLab's own code: the rows and files that it saw, and what it printed."""

    files: list[MigrationFile]
    rows: dict[str, list[str]]
    stdout: str


def recorded(name: str, step: int = 0) -> Recorded:
    recording = json.loads((RECORDINGS / f"{name}.json").read_text())
    ran = recording.get("steps", [recording])[step]
    files = [file_of(path) for path in recording["setup"]["migration_files"]]
    return Recorded(files, ran["schema_migrations_after"], ran["stdout"])


def file_of(path: str) -> MigrationFile:
    folder, _slash, name = path.rpartition("/")
    return sm.parse_file_name(name, sm.FOLDERS[folder], {})


def lines(text: str) -> list[tuple[str, str, str]]:
    """What a status list shows, read with nothing but its columns."""
    rows = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] in (["up"], ["down"]):
            name = line[26:] if len(words[1]) <= 14 else line.split("  ", 3)[-1]
            rows.append((words[0], words[1], name))
    return rows


@pytest.mark.parametrize(
    "name",
    [
        "migrate_status_all_down",
        "migrate_status_mixed",
        "migrate_status_odd_versions",
        "mark_complete_malformed_negative",
        "mark_complete_malformed_quote",
        "mark_complete_malformed_trailing",
        "mark_complete_malformed_spaces",
        "mark_complete_pending",
        "mark_complete_unknown",
    ],
)
def test_rows_and_files_say_what_rails_printed(name: str) -> None:
    last = -1 if name.startswith("mark_") else 0
    run = recorded(name, last)
    migrations = sm.merge("main", run.rows["main"], run.files)
    assert [
        ("down" if migration.state == sm.DOWN else "up", migration.version, migration.name) for migration in migrations
    ] == lines(run.stdout)
    assert sm.parse_status(run.stdout, ONE.databases, run.files) == migrations


@pytest.mark.parametrize(
    ("step", "names"), [(0, ["main", "ci"]), (1, ["main"]), (2, ["ci"])], ids=["both", "main", "ci"]
)
def test_two_databases_are_told_apart(step: int, names: list[str]) -> None:
    run = recorded("migrate_status_two_databases", step)
    databases = [TWO.find(name) for name in names]
    expected = [migration for name in names for migration in sm.merge(name, run.rows[name], run.files)]
    assert sm.parse_status(run.stdout, databases, run.files) == expected


def test_a_list_without_post_deployment_migrations_is_refused() -> None:
    run = recorded("migrate_status_skip_post")
    with pytest.raises(GitLabError, match=r"left out 1 migrations.*20220215190020.*SKIP_POST_DEPLOYMENT_MIGRATIONS"):
        sm.parse_status(run.stdout, ONE.databases, run.files)


def test_a_skipped_post_deployment_migration_that_is_up_is_no_migration_without_file() -> None:
    run = recorded("migrate_status_mixed")
    text = run.stdout.replace(
        "  down    20220215190020  Create post things", f"   up     20220215190020  {sm.NO_FILE_NAME}"
    )
    with pytest.raises(GitLabError, match="20220215190020"):
        sm.parse_status(text, ONE.databases, run.files)


def test_noise_colours_and_carriage_returns_do_not_matter() -> None:
    run = recorded("migrate_status_mixed")
    noise = (
        "WARNING: This installation of GitLab uses a deprecated syntax for 'config/database.yml'.\n"
        "The support for this syntax will be removed in 15.0.\n"
        "   up     20990101000000  Before any database\n"
    )
    text = noise + run.stdout.replace("  down ", "  \x1b[31mdown\x1b[0m ").replace("\n", "\r\n")
    expected = sm.merge("main", run.rows["main"], run.files)
    assert sm.parse_status(text, ONE.databases, run.files) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "said nothing about gitlabhq_main"),
        ("\ndatabase: other\n\n", "tells of the database other"),
        ("\ndatabase: gitlabhq_main\n\n\ndatabase: gitlabhq_main\n\n", "tells of the database gitlabhq_main"),
    ],
)
def test_a_list_of_the_wrong_databases_is_refused(text: str, said: str) -> None:
    with pytest.raises(GitLabError, match=said):
        sm.parse_status(text, ONE.databases, [])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20151103134857", "20151103134857"),
        ("20151103134857abc", "20151103134857"),
        ("-5", "-005"),
        ("-1234", "-1234"),
        ("+7", "007"),
        (" \n12", "012"),
        ("1'; drop table x; --", "001"),
        ("1_000", "1000"),
        ("1__000", "001"),
        ("_1", "000"),
        ("0x10", "000"),
        ("abc", "000"),
        ("", "000"),
    ],
)
def test_versions_are_read_as_ruby_reads_them(text: str, version: str) -> None:
    assert sm.normalize_version(text) == version


@given(st.integers(min_value=10**13, max_value=10**14 - 1))
def test_a_plain_version_stays_as_it_is(number: int) -> None:
    text = str(number)
    assert sm.normalize_version(text) == text
    assert sm.malformed_versions([text]) == []
    assert sm.parse_version(text) == text


@given(st.text())
def test_only_fourteen_digits_are_a_version(text: str) -> None:
    if len(text) == 14 and all(character in "0123456789" for character in text):
        assert sm.parse_version(text) == text
    else:
        with pytest.raises(GitLabError, match="is not the version of a migration"):
            sm.parse_version(text)


@pytest.mark.parametrize(
    "text",
    [
        "-5",
        "123abc",
        "20151103134857x",
        " 20151103134857 ",
        "20151103134857\n",
        "",
        " ",
        "abc",
        "1'; drop table x; --",
        "2021062204184",
        "202106220418460",
        "20151103134857.0",
        "2.0151103134857e13",
        "20151103134857,20210622041846",
        "\N{ARABIC-INDIC DIGIT TWO}0151103134857",
        "VERSION=20151103134857",
    ],
)
def test_what_gitlab_would_mark_wrongly_is_refused(text: str) -> None:
    with pytest.raises(GitLabError, match="14 digits"):
        sm.parse_version(text)


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("20151103134857_create_lfs_objects.rb", "Create lfs objects"),
        ("20210622041846_finalize_push_event_payloads_bigint_conversion.rb", None),
        ("20200101000000_add_index_on_user_id.rb", "Add index on user"),
        ("20200101000000_add_id.rb", "Add"),
        ("20200101000000__leading.rb", "Leading"),
        ("20200101000000_two__blanks.rb", "Two  blanks"),
        ("20200101000000_ee_and_csp_reports.rb", "EE and CSP reports"),
        ("20200101000000_committee.rb", "Committee"),
        ("20200101000000_add_x509_2fa.rb", "Add x509 2fa"),
        ("20200101000000_.rb", ""),
        ("20200101000000_create_things.other_engine.rb", "Create thingsother engine"),
    ],
)
def test_file_names_read_as_rails_shows_them(file_name: str, name: str | None) -> None:
    file = sm.parse_file_name(file_name, sm.REGULAR, GITLABS_ACRONYMS)
    assert file.version == file_name[:14]
    assert file.name == (name if name is not None else "Finalize push event payloads bigint conversion")


@pytest.mark.parametrize("file_name", ["20200101000000_Upper.rb", "20200101000000_a-b.rb", "20200101000000_a.rb.rb~"])
def test_a_file_name_that_breaks_rails_is_refused(file_name: str) -> None:
    with pytest.raises(GitLabError, match="name that Rails refuses"):
        sm.parse_file_name(file_name, sm.REGULAR, {})


def test_acronyms_are_read_from_gitlabs_own_file() -> None:
    text = "ActiveSupport::Inflector.inflections do |inflect|\n  inflect.acronym 'EE'\n  inflect.acronym(\"CSP\")\n"
    text += "  # inflect.acronym 'RESTful'\nend\n"
    assert sm.parse_acronyms(text) == GITLABS_ACRONYMS


@pytest.fixture
def rails_root(tmp_path: pathlib.Path) -> pathlib.Path:
    for path in (
        "db/migrate/20151103134857_create_lfs_objects.rb",
        "db/migrate/nested/20160101000000_add_ee_things.rb",
        "db/migrate/.keep",
        "db/migrate/README.md",
        "db/post_migrate/20220215190020_create_post_things.rb",
        "ee/db/geo/migrate/20170101000000_create_geo_things.rb",
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    inflections = tmp_path / "config/initializers_before_autoloader/000_inflections.rb"
    inflections.parent.mkdir(parents=True)
    inflections.write_text("  inflect.acronym 'EE'\n")
    return tmp_path


def test_the_files_of_an_installation_are_found(rails_root: pathlib.Path) -> None:
    assert sorted(sm.migration_files(str(rails_root))) == [
        ("20151103134857", "Create lfs objects", sm.REGULAR),
        ("20160101000000", "Add EE things", sm.REGULAR),
        ("20220215190020", "Create post things", sm.POST_DEPLOYMENT),
    ]


def test_a_folder_without_migrations_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GitLabError, match=r"no migration file.*rails_root"):
        sm.migration_files(str(tmp_path))


class FakeSession:
    name = "main"
    dbname = "gitlabhq_main"

    def __init__(self, answer: dict[str, t.Any]) -> None:
        self._answer = answer

    def read(self, parts: t.Any, **_parameters: t.Any) -> dict[str, t.Any]:
        assert list(parts) == [sm.VERSIONS]
        return self._answer

    def change(self, transactions: t.Iterable[t.Sequence[str]]) -> None:
        raise NotImplementedError

    def fetch(self, sql: str, **parameters: t.Any) -> list[dict[str, t.Any]]:
        raise NotImplementedError


def test_a_database_without_the_table_is_refused() -> None:
    with pytest.raises(GitLabError, match=r"gitlabhq_main has no table schema_migrations.*gitlab:db:configure"):
        sm.read_versions(FakeSession({}))


def test_an_empty_table_means_that_all_are_down() -> None:
    files = [MigrationFile("20151103134857", "Create lfs objects", sm.REGULAR)]
    (migration,) = sm.read_migrations([FakeSession({"versions": []})], files)
    assert migration.to_dict() == {
        "database": "main",
        "version": "20151103134857",
        "name": "Create lfs objects",
        "state": "down",
        "kind": "regular",
    }


versions = st.integers(min_value=10**13, max_value=10**14 - 1).map(str)


@given(st.lists(versions, unique=True), st.lists(versions, unique=True))
def test_every_row_and_every_file_is_counted_once(rows: list[str], file_versions: list[str]) -> None:
    migrations = sm.merge("main", rows, [MigrationFile(version, "X", sm.REGULAR) for version in file_versions])
    assert sm.count_states(migrations) == {
        "up": len(set(rows) & set(file_versions)),
        "down": len(set(file_versions) - set(rows)),
        "no_file": len(set(rows) - set(file_versions)),
    }
    assert [migration.version for migration in migrations] == sorted(set(rows) | set(file_versions))


def test_malformed_rows_are_named() -> None:
    rows = ["20151103134857", "20151103134857abc", "-5", "2021062204184", ""]
    assert sm.malformed_versions(rows) == ["20151103134857abc", "-5", "2021062204184", ""]


@pytest.mark.parametrize(
    ("topology", "names", "tasks"),
    [
        (ONE, ["main"], ["gitlab:db:mark_migration_complete"]),
        (SHARED, ["main"], ["gitlab:db:mark_migration_complete"]),
        (TWO, ["main", "ci"], ["gitlab:db:mark_migration_complete"]),
        (TWO, ["ci"], ["gitlab:db:mark_migration_complete:ci"]),
        (TWO, ["main"], ["gitlab:db:mark_migration_complete:main"]),
        (CI_WITHOUT_TASKS, ["main", "ci"], ["gitlab:db:mark_migration_complete"]),
    ],
)
def test_only_the_wanted_databases_are_marked(topology: t.Any, names: list[str], tasks: list[str]) -> None:
    assert sm.mark_tasks(topology, names) == tasks


def test_a_database_that_has_no_task_of_its_own_is_not_marked_alone() -> None:
    with pytest.raises(GitLabError, match="no task that marks a version in main alone"):
        sm.mark_tasks(CI_WITHOUT_TASKS, ["main"])


def test_a_version_that_no_file_has_is_refused() -> None:
    files = [MigrationFile("20151103134857", "Create lfs objects", sm.REGULAR)]
    assert sm.find_file(files, "20151103134857") is files[0]
    with pytest.raises(GitLabError, match=r"has no migration 20991231235959.*would mark it"):
        sm.find_file(files, "20991231235959")
