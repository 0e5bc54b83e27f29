# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_prove as prove
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import DatabaseDump
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

MAIN = DatabaseDump("main", "gitlabhq_production", "db/database.sql.gz", 1, {"public.a": 2, 'public."B"': 0}, 1, "1")
CI = DatabaseDump("ci", "gitlabhq_production_ci", "db/ci_database.sql.gz", 1, {"public.a": 5}, 1, "1")
WHOLE = 'rows\tmain\tpublic.a\t2\nrows\tmain\tpublic."B"\t0\nrows\tci\tpublic.a\t5\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WHOLE, None),
        (WHOLE.replace("\t2", "\t1"), "main: public.a has 1, 2 in the dump"),
        (WHOLE.replace("rows\tci\tpublic.a\t5\n", ""), "ci: public.a has no table, 5 in the dump"),
        (WHOLE.replace("public.a\t5", "psql:1: ERROR:  relation does not exist"), "ci: public.a has no table"),
        (f"{WHOLE}error\tci\tERROR:  type x does not fit\n", "ci: ERROR:  type x does not fit"),
        ("", "main: public.a has no table"),
    ],
)
def test_what_was_loaded_must_be_what_was_dumped(text: str, words: str | None) -> None:
    check = prove.compare((MAIN, CI), *prove.parse_result(text))

    assert check.passed is (words is None)
    assert check.name == "restore"
    assert (words or "main 2 rows, ci 5 rows") in check.detail


def test_statements_name_tables_as_the_dump_does() -> None:
    assert prove.statements(["public.a", 'public."It\'s"']) == (
        "SELECT 'public.a', count(*) FROM public.a;\nSELECT 'public.\"It''s\"', count(*) FROM public.\"It's\";\n"
    )


def test_the_roles_that_own_something_are_made_but_the_one_that_is_there() -> None:
    assert prove.role_statements(["gitlab", "gitlab-psql", 'a"b'], "gitlab-psql") == (
        'CREATE ROLE "gitlab" SUPERUSER;\nCREATE ROLE "a""b" SUPERUSER;\n'
    )


class Place:
    """The script is run as it is; only the programs of PostgreSQL, and the change to its user, are others."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "big"
        self.scratch = self.path / prove.FOLDER
        self.result = folder / "result"
        self.path.mkdir()
        (folder / "statements.roles").touch()
        for name, text in {
            "runuser": 'shift 3; exec "$@"',
            "chown": "exit 0",
            "initdb": 'mkdir "$2"; : >"$2/of_initdb"',
            "pg_ctl": "exit 0",
            "psql": "cat >/dev/null",
        }.items():
            self.program(folder / name, text)
        self._folder = folder

    def program(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        folder = self._folder
        return subprocess.run(
            [
                *("/bin/sh", "-c", prove.SCRIPT, "prove", "no.tar", self.scratch, prove.MARK),
                *(folder, "nobody", self.result, folder / "statements"),
            ],
            env={"PATH": f"{folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_only_a_folder_of_its_own_is_made_and_removed(place: Place) -> None:
    (place.path / "precious").write_text("x")

    done = place.run()

    assert done.returncode == 0, done.stderr
    assert place.result.exists()
    assert [path.name for path in place.path.iterdir()] == ["precious"]


def test_a_folder_that_no_proof_made_is_left_as_it_is(place: Place) -> None:
    place.scratch.mkdir()
    (place.scratch / "precious").write_text("x")

    done = place.run()

    assert done.returncode == 1
    assert "no proof made it" in done.stderr
    assert [path.name for path in place.scratch.iterdir()] == ["precious"]
    with pytest.raises(GitLabError, match=r"backup_prove made it.*move it away"):
        prove.Scratch(str(place.path), "", "", "").refuse()


def test_a_link_with_that_name_is_not_followed(place: Place, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "data").mkdir(parents=True)
    (theirs / prove.MARK).touch()
    place.scratch.symlink_to(theirs)

    assert place.run().returncode == 1
    assert (theirs / "data").is_dir()
    with pytest.raises(GitLabError, match=r"backup_prove made it"):
        prove.Scratch(str(place.path), "", "", "").refuse()


def test_what_a_killed_proof_left_is_cleaned_by_the_next_one(place: Place, tmp_path: Path) -> None:
    initdb = (tmp_path / "initdb").read_text()
    place.program(tmp_path / "initdb", 'mkdir "$2"; kill -KILL "$PPID"')
    assert place.run().returncode == -9
    assert (place.scratch / "data").is_dir()
    prove.Scratch(str(place.path), "", "", "").refuse()

    (tmp_path / "initdb").write_text(initdb)
    done = place.run()

    assert done.returncode == 0, done.stderr
    assert not list(place.path.iterdir())


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GitLabError, match="is not there"):
        prove.Scratch(str(tmp_path / "no"), "", "", "").refuse()
