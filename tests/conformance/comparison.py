# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording and a replay differ in, once what must differ is taken out: times, durations, paths, line numbers."""

from __future__ import annotations

import re
import typing as t

from . import chance

Recording = dict[str, t.Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
WORKER_DATABASE = re.compile(r"\b(gitlabhq_(?:main|ci))_w\d+\b")
DURATION = re.compile(r"\b\d+\.\d{4}s")
SOCKET = re.compile(r'socket "[^"]*/pg/\.s\.PGSQL')
BACKTRACE = re.compile(r"\s*(?:from )?\S+:\d+:in [`'].*")
LOCATION = re.compile(r"^\S+:\d+:in `[^']*': ")
SOURCE = re.compile(r"(uninitialized constant \S+\n\n)(?!<source line>).*\n *\^+.*")
SHOWN_AT_EACH_END = 6
TRANSITION = "BatchedJob transition"


def plain_text(text: str) -> str:
    """A standard output or error without what differs from run to run."""
    text = TIME.sub("<ts>", text.replace("\r\n", "\n"))
    text = WORKER_DATABASE.sub(r"\1", DURATION.sub("<s>", text))
    return SOURCE.sub(r"\1<source line>", SOCKET.sub('socket "<box>/pg/.s.PGSQL', text))


def error_text(text: str) -> str:
    """A standard error without its backtraces."""
    lines = (LOCATION.sub("", line) for line in plain_text(text).split("\n"))
    return "\n".join(line for line in lines if not BACKTRACE.fullmatch(line))


def plain_value(value: t.Any) -> t.Any:
    """A value from a row, placeholders in the place of times and durations."""
    if isinstance(value, dict):
        return {key: plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain_value(inner) for inner in value]
    if isinstance(value, float):
        return "<s>"
    if isinstance(value, str):
        return TIME.sub("<ts>", SOURCE.sub(r"\1<source line>", value))
    return value


def shortened(rows: list[t.Any], recorded: list[t.Any]) -> list[t.Any]:
    """Cuts the middle of a long table out, as the recorder did."""
    cut = [row for row in recorded if isinstance(row, dict) and "..." in row]
    if not cut:
        return rows
    left_out = len(rows) - 2 * SHOWN_AT_EACH_END
    return [*rows[:SHOWN_AT_EACH_END], {"...": f"{left_out} rows left out of {len(rows)}"}, *rows[-SHOWN_AT_EACH_END:]]


def plain_state(state: t.Any, recorded: t.Any) -> t.Any:
    """The replay's rows in the form of the recorded ones."""
    if not isinstance(state, dict):
        return plain_value(state)
    plain = {}
    for name, part in state.items():
        expected = recorded.get(name) if isinstance(recorded, dict) else None
        if isinstance(part, list) and isinstance(expected, list):
            part = shortened(part, expected)
        plain[name] = plain_state(part, expected) if isinstance(part, dict) else plain_value(part)
    return plain


def log_messages(lines: list[Recording] | None) -> list[str]:
    """Messages of application_json.log, without the transitions."""
    return [line["message"] for line in lines or [] if line.get("message") and line["message"] != TRANSITION]


def step_differences(
    name: str, recorded: Recording, played: Recording, *, interrupted: bool
) -> dict[str, tuple[t.Any, t.Any]]:
    found = {}

    def compare(field: str, expected: t.Any, actual: t.Any) -> None:
        if expected != actual:
            found[field] = (expected, actual)

    if "exit_code" in recorded:
        compare("exit_code", recorded["exit_code"], played["exit_code"])
        compare("stdout", *(chance.reduced_output(name, plain_text(side["stdout"])) for side in (recorded, played)))
        compare("stderr", error_text(recorded["stderr"]), error_text(played["stderr"]))
    if "after_step" in recorded:
        expected, actual = recorded["after_step"], plain_state(played["after_step"], recorded["after_step"])
        if interrupted:
            expected, actual = chance.half_way(expected), chance.half_way(actual)
        compare("rows", expected, actual)
    if "schema_migrations_after" in recorded:
        compare("schema_migrations", recorded["schema_migrations_after"], played["schema_migrations_after"])
    return found


def differences(recording: Recording, outcome: Recording) -> dict[str, tuple[t.Any, t.Any]]:
    """Field ("2.stdout" is that of the third step) to the recorded and the replayed value."""
    if "error" in outcome:
        return {"replay": ("played", outcome["error"])}
    found: dict[str, tuple[t.Any, t.Any]] = {}
    several = "steps" in recording
    for index, (recorded, played) in enumerate(zip(recording.get("steps", [recording]), outcome["steps"], strict=True)):
        interrupted = (several and "SIG" in str(recorded.get("note"))) or "did not end" in str(recorded.get("note"))
        for field, values in step_differences(recording["name"], recorded, played, interrupted=interrupted).items():
            found[f"{index}.{field}" if several else field] = values
    expected, actual = recording["after"], plain_state(outcome["after"], recording["after"])
    expected, actual = (chance.reduced_state(recording["name"], state) for state in (expected, actual))
    if expected != actual:
        found["after"] = (expected, actual)
    if "application_json_log" in recording:
        messages = log_messages(recording["application_json_log"])
        if messages != log_messages(outcome["log"]):
            found["log"] = (messages, log_messages(outcome["log"]))
        transitions = sum(line.get("message") == TRANSITION for line in outcome["log"])
        if (
            chance.counts_transitions(recording["name"])
            and recording["application_json_log_transitions"] != transitions
        ):
            found["transitions"] = (recording["application_json_log_transitions"], transitions)
    return found
