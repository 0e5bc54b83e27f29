# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every link of a Markdown page to another file leads to a file that is there, and to a heading that it has."""

from __future__ import annotations

import posixpath
import re
import typing as t
from pathlib import Path

from . import files

_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page: str) -> set[str]:
    """Return what GitHub and GitLab call the headings of a page."""
    headings = _HEADING.findall(_FENCED.sub("", page))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken(pages: t.Mapping[str, str], present: t.Iterable[str]) -> t.Iterator[str]:
    """Yield the links that lead nowhere, of ``pages`` (name and text), where ``present`` are the files that there are."""
    names = set(present)
    names.update(str(folder) for name in list(names) for folder in Path(name).parents)
    for name, page in pages.items():
        for link in _LINK.findall(_CODE.sub("", page)):
            path, _hash, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            if re.match(r"[a-z]+:", link):
                continue
            if target not in names:
                yield f"{name}: there is no {link}"
            elif anchor and target in pages and anchor not in anchors(pages[target]):
                yield f"{name}: {target} has no heading {anchor}"


def check(root: Path) -> t.Iterator[str]:
    """Yield what is wrong with the links of the whole working tree."""
    names = files.listed(root)
    pages = {name: (root / name).read_text(encoding="utf-8") for name in names if name.endswith(".md")}
    yield from broken(pages, names)
