#!/usr/bin/env python3
# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the mini GitLab's packages, images and scenarios; package/README.md tells more."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t
from pathlib import Path

from package import image, other_postgresql, repository
from package.source import BuildError, releases

_CACHE = Path(os.environ.get("MINI_GITLAB_DIR", "/var/lib/gitlab-fleet-testbed") + "-packages")


def main(arguments: t.Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        for line in options.act(options):
            print(line, flush=True)
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    repo = verbs.add_parser("repo", help="build all packages and put the apt repository into DIR")
    repo.add_argument("directory", metavar="DIR", type=Path)
    repo.set_defaults(act=_repo)
    images = verbs.add_parser("image", help="make images of configured hosts; prints their names")
    images.add_argument("specs", metavar="SPEC", nargs="+", help="gitlab-VERSION[-to-VERSION...][-LAYOUT][-db-only]")
    images.set_defaults(act=lambda options: (image.make(name, _CACHE) for name in options.specs))
    scenarios = verbs.add_parser("scenario", help="make images of instances in trouble; prints their names")
    scenarios.add_argument("names", metavar="NAME", nargs="+")
    scenarios.set_defaults(act=lambda options: (image.make_scenario(name, _CACHE) for name in options.names))
    other = verbs.add_parser(
        "postgresql", help="fetch a second major of PostgreSQL; prints what fleet.py up --bind takes"
    )
    other.set_defaults(act=lambda options: [other_postgresql.bind(_CACHE)])
    return parser.parse_args(arguments)


def _repo(options: argparse.Namespace) -> t.Iterator[str]:
    repository.copy(repository.build(releases(), _CACHE), options.directory)
    yield str(options.directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
