# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_table
author: The gitlab_fleet.upgrade authors
version_added: 0.1.0
short_description: Show the backups of a whole fleet in one table
description:
  - Makes one table of the results of M(gitlab_fleet.upgrade.backup_verify) of many instances, with a line for each instance and a line with
    the sums. What is not known is never shown as verified.
positional: _input, failures, trial
options:
  _input:
    description:
      - The results by the instance's inventory name.
      - What is no successful result (a failed or unreachable one, an empty mapping) counts as not verified.
    type: dict
    required: true
  failures:
    description: What went wrong, by the instance's inventory name, or empty; an instance with a failure has no verified backup.
    type: dict
    default: {}
  trial:
    description: Whether nothing was to be made, as in check mode.
    type: bool
    default: false
seealso:
  - module: gitlab_fleet.upgrade.backup_verify
"""

EXAMPLES = r"""
---
- name: Show the whole fleet
  ansible.builtin.debug:
    msg: "{{ {'acme-1': acme_1_backup, 'acme-2': acme_2_backup} | gitlab_fleet.upgrade.backup_table }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
  sample:
    - INSTANCE  VERSION    VERIFIED  SIZE    BACKUP
    - acme-1    14.2.7-ee  yes       1.4 GB  fleet_1700535909_2023_11_21_14.2.7-ee, 4711 rows, proved by restore, 1 copy
    - 'acme-2    ?          no        ?       failed: There is not enough room for a backup'
    - '2 instances: 1 with a verified backup, 1 without'
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_space import in_bytes

NAME = "gitlab_fleet.upgrade.backup_table"
HEADER = ("INSTANCE", "VERSION", "VERIFIED", "SIZE", "BACKUP")
UNKNOWN = "?"
LONGEST_REASON = 200


def backup_table(
    results: t.Mapping[str, t.Any], failures: t.Mapping[str, str] | None = None, trial: bool = False
) -> list[str]:
    """Return the lines of the table, by the instances' names."""
    if not isinstance(results, t.Mapping) or not isinstance(failures or {}, t.Mapping):
        raise AnsibleFilterError(f"{NAME}: a mapping from instance to the result of backup_verify is needed.")
    rows = [HEADER]
    for name in sorted(results):
        rows.append(_row(str(name), results[name], (failures or {}).get(name), trial))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]
    total = len(rows) - 1
    noun = "instance" if total == 1 else "instances"
    without = sum(row[2] == "no" for row in rows)
    said = "could be backed up" if trial else "with a verified backup"
    return [*lines, f"{total} {noun}: {total - without} {said}, {without} {'could not' if trial else 'without'}"]


def _row(name: str, result: t.Any, failure: str | None, trial: bool) -> tuple[str, str, str, str, str]:
    known = isinstance(result, t.Mapping) and result.get("verified") is True and not result.get("failed")
    if failure or not known:
        if trial and not failure:
            return (name, UNKNOWN, "-", UNKNOWN, "nothing was made, only tried")
        text = f"failed: {failure or 'it was lost earlier in this run, see above'}"
        return (name, UNKNOWN, "no", UNKNOWN, _one_line(text))
    manifest = result["manifest"]
    return (name, str(manifest["gitlab"]["version"]), "yes", in_bytes(manifest["archive"]["size"]), _summary(manifest))


def _summary(manifest: t.Mapping[str, t.Any]) -> str:
    words = [str(manifest["id"]), f"{sum(sum(one['rows'].values()) for one in manifest['databases'])} rows"]
    if [part["name"] for part in manifest["parts"]] == ["db"]:
        words.append("the database alone")
    elif manifest["skipped"]:
        words.append(f"without {' '.join(manifest['skipped'])}")
    if manifest["proved_by_restore"]:
        words.append("proved by restore")
    copies = len(manifest["copies"])
    if copies:
        words.append(f"{copies} {'copy' if copies == 1 else 'copies'}")
    return ", ".join(words)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


class FilterModule:
    """Filters about the backups of a fleet."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"backup_table": backup_table}
