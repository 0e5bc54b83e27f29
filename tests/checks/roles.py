# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles: what is documented is what can be set, and every entry point that is used exists and is checked.

- The keys of defaults/main.yml and the options of meta/argument_specs.yml are the same. An option without a default is
  either required or a gate: a yes that only the user can give, so it has no default on purpose.
- tasks_from names no file extension: with one, Ansible skips the argument specification without a word.
- A condition on a boolean option says `| bool`: with C(-e name=false) it is text, which is true, and the specification lets it through.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from .yaml_files import load, mappings

NAMESPACE = "gitlab_fleet.upgrade."
_INCLUDES = tuple(prefix + name for prefix in ("", "ansible.builtin.") for name in ("include_role", "import_role"))

Options = dict[str, dict[str, t.Any]]


def first_existing(directory: Path, name: str) -> Path | None:
    """Return DIRECTORY/NAME.yml or .yaml."""
    return next((path for path in (directory / f"{name}.yml", directory / f"{name}.yaml") if path.is_file()), None)


def entry_points(role: Path) -> dict[str, Options]:
    """Return the options of each entry point of a role that has an argument specification."""
    path = first_existing(role / "meta", "argument_specs")
    if path is None:
        return {}
    return {name: spec.get("options") or {} for name, spec in load(path)["argument_specs"].items()}


def check_defaults(role: Path) -> t.Iterator[str]:
    """Yield each difference between a role's defaults and its documented options."""
    points = entry_points(role)
    path = first_existing(role / "defaults", "main")
    defaults: dict[str, t.Any] = (load(path) or {}) if path else {}
    options: Options = {name: spec for point in points.values() for name, spec in point.items()}
    where = f"roles/{role.name}"
    if not points:
        yield f"{where}: has no meta/argument_specs.yml"
    for name in sorted(defaults.keys() - options.keys()):
        yield f"{where}/defaults/main.yml: {name} is not in meta/argument_specs.yml"
    for name, spec in sorted(options.items()):
        if not name.startswith(role.name + "_"):
            continue
        if name not in defaults and not spec.get("required"):
            yield f"{where}/meta/argument_specs.yml: {name} is neither required nor in defaults/main.yml"
        if name in defaults and "default" in spec and spec["default"] != defaults[name]:
            yield f"{where}/meta/argument_specs.yml: the default of {name} differs from defaults/main.yml"


def check_gates(role: Path) -> t.Iterator[str]:
    """Yield each condition on a boolean option that C(-e name=false) would pass: that is text, and true."""
    options = {name: spec for point in entry_points(role).values() for name, spec in point.items()}
    booleans = [name for name, spec in options.items() if spec.get("type") == "bool"]
    for path in sorted((role / "tasks").glob("**/*.y*ml")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for name in booleans:
                if re.search(rf"\b(if|not|and|or|when:|-) \(?{name}\b(?! \| bool)(?!:)", line):
                    yield f"roles/{role.name}/tasks/{path.name}:{number}: {name} decides without | bool"


def check_entry_points(root: Path, path: Path) -> t.Iterator[str]:
    """Yield what is wrong with the role entry points that a file of tasks or plays uses."""
    where = path.relative_to(root)
    for mapping in mappings(load(path)):
        for include in (mapping[key] for key in _INCLUDES if isinstance(mapping.get(key), dict)):
            entry = str(include.get("tasks_from", "main"))
            role = root / "roles" / str(include.get("name", "")).removeprefix(NAMESPACE)
            if entry.endswith((".yml", ".yaml")):
                yield f"{where}: tasks_from: {entry} has an extension, so its arguments are not checked"
            elif "{{" in entry or "{{" in role.name or not role.is_dir():
                continue
            elif first_existing(role / "tasks", entry) is None:
                yield f"{where}: role {role.name} has no tasks/{entry}.yml"
            elif entry not in entry_points(role):
                yield f"{where}: entry point {entry} of role {role.name} is not in its meta/argument_specs.yml"


def check(root: Path) -> t.Iterator[str]:
    """Yield what is wrong with any role, or with any use of one."""
    for role in sorted(path for path in (root / "roles").glob("*") if path.is_dir()):
        yield from check_defaults(role)
        yield from check_gates(role)
    for pattern in (
        "roles/*/tasks/**/*.y*ml",
        "roles/*/handlers/**/*.y*ml",
        "playbooks/**/*.y*ml",
        "molecule/**/*.y*ml",
    ):
        for path in sorted(root.glob(pattern)):
            yield from check_entry_points(root, path)
