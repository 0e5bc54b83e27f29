# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_choice import TOGETHER, argument_spec, named
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_finalize import Key, Selection
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_status import Selection as Shown
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._topology import topology_from_option

NOTHING: dict[str, t.Any] = dict.fromkeys(argument_spec())
KEY: dict[str, t.Any] = dict(zip(TOGETHER, ("BackfillX", "things", "id", [None, "up"]), strict=True))


def test_what_the_options_name() -> None:
    assert named(NOTHING) is None
    assert named({**NOTHING, "migration": "main_1", "database": "ci"}) == Selection(id="main_1", database="ci")
    assert named({**NOTHING, **KEY}) == Selection(key=Key("BackfillX", "things", "id", [None, "up"]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**KEY, "job_class_name": ""}, "job_class_name is empty[.] Give it as bbm_status shows it"),
        ({**KEY, "table_name": "  "}, "table_name is empty"),
        ({**KEY, "column_name": ""}, "column_name is empty"),
        ({**KEY, "job_arguments": "[]"}, "must be a list"),
    ],
)
def test_half_a_name_is_refused(options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(GitLabError, match=said):
        named({**NOTHING, **options})


@pytest.mark.parametrize("name", ["job_class_name", "table_name"])
def test_an_empty_filter_does_not_show_nothing(name: str) -> None:
    """A wait for it would end at once."""
    topology = topology_from_option({"main": "gitlabhq_production"})
    with pytest.raises(GitLabError, match=f"{name} is empty"):
        Shown.from_options({name: ""}, topology)
