# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl check-config`: does the configuration of the last reconfigure hold removed settings? (facts 5.3)."""

from __future__ import annotations

import argparse
import json
import sys
import typing as t

from gitlab_ctl import layout, removals
from gitlab_ctl.release import format_series, parse_series


def main(arguments: t.Sequence[str]) -> int:
    installed = layout.installed_release()
    parser = argparse.ArgumentParser(prog="gitlab-ctl check-config")
    parser.add_argument("--version", default=format_series(installed.series))
    if installed.may_skip_config_check:
        parser.add_argument("--no-fail", action="store_true")
    options = parser.parse_args(arguments)
    failure = 0 if getattr(options, "no_fail", False) else 1
    nodes = sorted(layout.NODES.glob("*.json"))
    if not nodes:
        print("JSON file with existing configuration not found inside /opt/gitlab/embedded/nodes.")
        print("Skipping config check.")
        return 0
    node = json.loads(nodes[0].read_text(encoding="utf-8"))
    if "normal" not in node:
        print(f"Malformed configuration JSON file found at {nodes[0]}.")
        print("This usually happens when your last run of `gitlab-ctl reconfigure` didn't complete successfully.")
        print(
            "This file is used to check if any of the unsupported configurations are enabled, and hence require a working reconfigure before upgrading."
        )
        print("Please run `sudo gitlab-ctl reconfigure` to fix it and try again.")
        return failure if installed.malformed_node_fails else 0
    if not layout.PUBLIC_ATTRIBUTES.exists():
        print("Public attributes file is missing, run gitlab-ctl reconfigure to re-create it.", file=sys.stderr)
        return 1
    found = removals.find_removals(node["normal"], parse_series(options.version), installed.series)
    if not found:
        return 0
    print(f"The following configurations are not supported in {options.version}:")
    for removal in found:
        print(removal.text)
    print("Deprecations found. Please correct them and try again.")
    return failure
