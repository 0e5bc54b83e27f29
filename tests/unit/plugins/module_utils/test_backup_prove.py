# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _backup_prove as prove
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import DatabaseDump

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
