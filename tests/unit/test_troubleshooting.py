# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page for the night names every cause, and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._failure import Cause

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize("cause", [cause.value for cause in Cause])
def test_every_cause_is_explained(cause: str) -> None:
    assert re.search(rf"^(###? .*`{cause}`|\| `{cause}` \|)", PAGE, re.MULTILINE)


def test_modules_and_playbooks_that_are_named_exist() -> None:
    names = set(re.findall(r"gitlab_fleet\.upgrade\.(\w+)", PAGE))
    assert names
    for name in names:
        assert (ROOT / "plugins" / "modules" / f"{name}.py").exists() or (ROOT / "playbooks" / f"{name}.yml").exists()


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert links
    assert links <= anchors
