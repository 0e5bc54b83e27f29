# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the collection's YAML files as data."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml


class _Loader(yaml.SafeLoader):
    """Also reads Ansible's own tags (!vault, !unsafe), as the plain value under them."""


def _under_tag(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> t.Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(t.cast(yaml.MappingNode, node), deep=True)


_Loader.add_multi_constructor("!", _under_tag)


def load(path: Path) -> t.Any:
    """Return what a YAML file says. Raises yaml.YAMLError when it is not YAML."""
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=_Loader)


def mappings(value: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield every mapping inside a value, outermost first."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from mappings(item)
    elif isinstance(value, list):
        for item in value:
            yield from mappings(item)
