# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that a built tarball holds what users need and nothing else.

python -m ansible_collections.gitlab_fleet.upgrade.tests.checks.tarball FILE
"""

from __future__ import annotations

import re
import sys
import tarfile
import typing as t

from . import links

ALLOWED = re.compile(
    r"""
    (?: FILES\.json | MANIFEST\.json | LICENSE | README\.md | CHANGELOG\.md | changelogs/changelog\.yaml
      | meta/(?:runtime|execution-environment)\.yml | meta/ee-(?:bindep|requirements)\.txt
      | plugins/(?:action|doc_fragments|filter|module_utils|modules|plugin_utils|test)/(?:[a-z_]+/)*[a-z_0-9]+\.(?:py|yml|rb)
      | plugins/module_utils/(?:[a-z_]+/)*[a-z_0-9]+\.json
      | roles/[a-z_]+/README\.md
      | roles/[a-z_]+/(?:defaults|handlers|meta|tasks|vars)/(?:[a-z_]+/)*[a-z_0-9]+\.yml
      | roles/[a-z_]+/(?:files|templates)/.+
      | playbooks/[a-z_]+\.yml
      | docs/[a-z-]+\.md | docs/(?:images|examples)/.+
      | docs/docsite/(?:config|extra-docs|links)\.yml | docs/docsite/rst/.+\.rst
      | extensions/eda/rulebooks/[a-z_]+\.yml
    )
    """,
    re.VERBOSE,
)

REQUIRED = frozenset({"LICENSE", "README.md", "meta/runtime.yml", "MANIFEST.json", "FILES.json"})


def check(names: t.Iterable[str]) -> t.Iterator[str]:
    """Yield what is wrong with the names of a tarball's files."""
    present = set(names)
    for name in sorted(REQUIRED - present):
        yield f"{name} is not in the tarball"
    for name in sorted(present):
        if not ALLOWED.fullmatch(name):
            yield f"{name} is in the tarball: add it to build_ignore in galaxy.yml, or to ALLOWED if users need it"


def read(tarball: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Return the text of one plain file."""
    stream = tarball.extractfile(member)
    return stream.read().decode() if stream else ""


def check_links(pages: t.Mapping[str, str], names: t.Iterable[str]) -> t.Iterator[str]:
    """Yield the links of shipped pages to what is not shipped. README.md says of its own that they lead into the repository."""
    yield from links.broken({name: page for name, page in pages.items() if name != "README.md"}, names)


def main(path: str) -> int:
    with tarfile.open(path) as tarball:
        members = [member for member in tarball.getmembers() if not member.isdir()]
        pages = {member.name: read(tarball, member) for member in members if member.name.endswith(".md")}
    problems = [f"{member.name} is not a plain file" for member in members if not member.isfile()]
    problems += check(member.name for member in members)
    problems += check_links(pages, [member.name for member in members])
    for problem in problems:
        print(problem)
    print(f"{path}: {len(members)} files, {sum(member.size for member in members) // 1024} KiB")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
