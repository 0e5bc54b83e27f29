# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module is in the action group, says so in its documentation, and the action group names nothing else."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import yaml

from .yaml_files import load

GROUP = "gitlab"
FRAGMENT = "gitlab_fleet.upgrade._attributes.actiongroup_gitlab"


def documentation(path: Path) -> dict[str, t.Any]:
    """Return a module's DOCUMENTATION, empty when it has none (ansible-test sanity reports that)."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["DOCUMENTATION"]:
            return dict(yaml.safe_load(ast.literal_eval(node.value)))
    return {}


def check(root: Path) -> t.Iterator[str]:
    """Yield each difference between plugins/modules and the action group."""
    runtime = root / "meta" / "runtime.yml"
    grouped = set(load(runtime)["action_groups"][GROUP])
    modules = {path.stem: path for path in sorted((root / "plugins" / "modules").glob("*.py"))}
    for name in sorted(grouped - modules.keys()):
        yield f"{runtime.relative_to(root)}: action group {GROUP} names {name}, but there is no plugins/modules/{name}.py"
    for name, path in modules.items():
        if name not in grouped:
            yield f"{path.relative_to(root)}: missing in action group {GROUP} of meta/runtime.yml"
        fragments = documentation(path).get("extends_documentation_fragment") or []
        if FRAGMENT not in fragments:
            yield f"{path.relative_to(root)}: extends_documentation_fragment lacks {FRAGMENT}"
