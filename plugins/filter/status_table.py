# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_table
author: The gitlab_fleet.upgrade authors
version_added: 0.1.0
short_description: Show the batched background migrations of a whole fleet in one table
description:
  - Makes one table of the results of M(gitlab_fleet.upgrade.bbm_status) of many instances, with a line for each instance, a line for
    each unfinished migration among the results, and a line with the sums.
  - An instance that failed or was not reached has a line too. What is not known is never shown as safe.
positional: _input, failures
options:
  _input:
    description:
      - The results by the instance's inventory name.
      - What is no successful result (a failed or unreachable one, an empty mapping) counts as unknown.
    type: dict
    required: true
  failures:
    description: What else went wrong, by the instance's inventory name, or empty; an instance with a failure is not safe.
    type: dict
    default: {}
seealso:
  - module: gitlab_fleet.upgrade.bbm_status
"""

EXAMPLES = r"""
---
- name: Show the whole fleet
  ansible.builtin.debug:
    msg: "{{ {'acme-1': acme_1_status, 'acme-2': acme_2_status} | gitlab_fleet.upgrade.status_table }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
  sample:
    - INSTANCE  VERSION    SAFE  MIGRATIONS
    - acme-1    14.2.7-ee  no    1 active, 41 done
    - '          main_85    42 %  active  812 /s  about 3 h 10 min left  BackfillX on projects'
    - acme-2    17.8.7-ee  yes   212 done
    - '2 instances: 1 safe to upgrade, 1 not, 0 unknown'
"""

import textwrap
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.gitlab_fleet.upgrade.plugins.plugin_utils._progress import percent, rate, remaining

NAME = "gitlab_fleet.upgrade.status_table"
HEADER = ("INSTANCE", "VERSION", "SAFE", "MIGRATIONS")
DONE = ("finished", "finalized")
NEEDED = ("databases", "safe_to_upgrade", "reasons", "by_state", "migrations", "blocking", "background_migrations")
# The last column goes on below itself.
LAST_COLUMN = 120

Result = t.Mapping[str, t.Any]


def status_table(results: t.Mapping[str, Result], failures: t.Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of the table, by the instances' names."""
    if not isinstance(results, t.Mapping) or not isinstance(failures or {}, t.Mapping):
        raise AnsibleFilterError(f"{NAME}: a mapping from instance to the result of bbm_status is needed.")
    named = {str(name): str(reason) for name, reason in (failures or {}).items() if reason}
    rows: list[tuple[str, ...]] = [HEADER]
    details: dict[str, list[tuple[str, ...]]] = {}
    sums = {"yes": 0, "no": 0, "unknown": 0}
    for name in sorted(results):
        result = results[name] if isinstance(results[name], t.Mapping) else {}
        safe = _safe(result, named.get(name))
        sums[safe] += 1
        rows.append((str(name), _version(result), safe, _summary(result, named.get(name))))
        details[str(name)] = [
            _detail(migration)
            for migration in result.get("migrations") or []
            if known(result) and migration["state"] not in DONE
        ]
    return [*_with_details(rows, details), _sums(sums)]


def known(result: t.Any) -> bool:
    """Return whether this is a successful result of bbm_status."""
    return isinstance(result, t.Mapping) and not result.get("failed") and all(name in result for name in NEEDED)


def _safe(result: Result, failure: str | None) -> str:
    if not known(result):
        return "unknown"
    return "yes" if result["safe_to_upgrade"] and not failure else "no"


def _version(result: Result) -> str:
    return str(result.get("gitlab_version") or "?")


def _summary(result: Result, failure: str | None) -> str:
    parts = ["failed: " + _one_line(failure).rstrip(".")] if failure else []
    if not known(result):
        verdict = "unreachable" if result.get("unreachable") else "not read"
        reason = str(result.get("msg") or "it was lost earlier in this run, see above")
        if reason != failure:
            parts.append(f"{verdict}: {_one_line(reason)}")
        return "; ".join(parts)
    by_state = {str(state): len(ids) for state, ids in result["by_state"].items()}
    parts += [f"{count} {state}" for state, count in sorted(by_state.items()) if state not in DONE]
    parts.append(f"{sum(by_state.get(state, 0) for state in DONE)} done")
    pending = result["background_migrations"]["total"]
    if pending:
        parts.append(f"{pending} non-batched pending")
    down = sum(len(database.get("schema_migrations_down") or []) for database in result["databases"])
    if down:
        parts.append(f"{down} schema migration{'' if down == 1 else 's'} down")
    if result["blocking"] or pending or down:
        parts += [f"{len(result['unproven'])} finished without a job"] if result.get("unproven") else []
    elif not result["safe_to_upgrade"]:
        parts += [_one_line(str(reason)) for reason in result["reasons"]]
    return ", ".join(parts)


def _detail(migration: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    words = [rate(migration["rate"]), remaining(migration["eta_seconds"])]
    if migration["eta_seconds"] is None and not migration["stalled"]:
        words.append(str(migration["eta_basis"] or "").replace("no estimate: ", ""))
    words.append(f"{migration['job_class_name']} on {migration['table_name']}")
    if migration["stalled"]:
        words.append("STALLED: " + _one_line("; ".join(migration["stalled_reasons"])))
    return (
        str(migration["id"]),
        percent(migration["progress"]["percent"]),
        "  ".join([str(migration["state"]), *filter(None, words)]),
    )


def _with_details(rows: list[tuple[str, ...]], details: t.Mapping[str, list[tuple[str, ...]]]) -> list[str]:
    everything = [*rows, *(("", *detail) for group in details.values() for detail in group)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(HEADER) - 1)]
    lines = []
    for row in rows:
        for cells in (row, *(("", *detail) for detail in details.get(row[0], []))):
            padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
            first, *rest = textwrap.wrap(cells[-1], LAST_COLUMN, break_long_words=False, break_on_hyphens=False) or [""]
            lines.append("  ".join([*padded, first]).rstrip())
            lines += ["  ".join([" " * width for width in widths] + [more]) for more in rest]
    return lines


def _sums(sums: t.Mapping[str, int]) -> str:
    total = sum(sums.values())
    noun = "instance" if total == 1 else "instances"
    return f"{total} {noun}: {sums['yes']} safe to upgrade, {sums['no']} not, {sums['unknown']} unknown"


def _one_line(text: str) -> str:
    return " ".join(text.split())


class FilterModule:
    """Filters about the state of a fleet."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"status_table": status_table}
