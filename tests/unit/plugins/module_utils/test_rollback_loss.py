# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_loss import Count, gone_with_snippets

SNIPPETS, STATISTICS, PROJECTS = "public.snippets", "public.snippet_statistics", "public.projects"
BACKUP = {PROJECTS: 42, SNIPPETS: 5, STATISTICS: 5}


@pytest.mark.parametrize(
    ("now", "removed", "explained"),
    [
        ({SNIPPETS: 3, STATISTICS: 3}, 2, {SNIPPETS, STATISTICS}),
        ({SNIPPETS: 3}, 2, {SNIPPETS}),
        # Nothing else may be missing because of it.
        ({SNIPPETS: 3, STATISTICS: 3, PROJECTS: 41}, 2, {SNIPPETS, STATISTICS}),
        ({SNIPPETS: 3, STATISTICS: 6}, 2, {SNIPPETS}),
        # Not as many as the log tells, or no word of it.
        ({SNIPPETS: 2}, 2, set()),
        ({SNIPPETS: 4}, 2, set()),
        ({SNIPPETS: 3}, 0, set()),
        ({SNIPPETS: 6}, 0, set()),
        ({STATISTICS: 3}, 2, set()),
    ],
)
def test_snippets_that_the_restore_deleted_explain_no_more_than_themselves(
    now: dict[str, int], removed: int, explained: set[str]
) -> None:
    counts = {name: Count(rows) for name, rows in {**BACKUP, **now}.items()}
    assert gone_with_snippets(BACKUP, counts, removed) == explained


def test_a_table_that_is_not_there_is_never_explained() -> None:
    assert gone_with_snippets(BACKUP, {SNIPPETS: Count(3)}, 2) == {SNIPPETS}
    assert gone_with_snippets(BACKUP, {}, 5) == set()
