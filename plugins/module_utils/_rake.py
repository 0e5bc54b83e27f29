# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Task arguments in Rake's own syntax, both ways.

The rules are those of Rake 13, held against a real Rake by C(tests/integration/rake/test_rake_quoting.py).
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

# What Rake trims around an argument: Ruby's \s without the newline, which Rake cannot carry at all.
_BLANKS = frozenset(" \t\r\f\v")
_TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:.-]*\Z")
_TOKEN = re.compile(r"\\.|.")
# One argument and what follows its comma.
_ARGUMENT = re.compile(r"((?:\\.|[^\\,])*)(?:,(.*))?\Z")

_RUNNER_HINT = "Send it through gitlab-rails runner instead, which gets its input as JSON."

DEFAULT_PROGRAM = ("sudo", "gitlab-rake")


def quote_arguments(arguments: t.Sequence[str]) -> str:
    """Return C(a,b,c) such that Rake splits C(task[a,b,c]) into exactly ``arguments``.

    :raises GitLabError: Rake has no spelling for an argument: it is empty (the task would get nil), holds a newline
        (Rake would look for a task of that name) or cannot be on a command line (NUL, broken Unicode).
    """
    return ",".join(_quote(argument) for argument in arguments)


def parse_arguments(text: str) -> list[str]:
    """Return the arguments that Rake reads from ``text``, the part between the first C([) and the last C(]).

    An empty string in the list reaches the task as nil.

    :raises GitLabError: ``text`` holds a newline; Rake would not see any argument.
    """
    _refuse_newline(text)
    arguments: list[str] = []
    rest: str | None = text or None
    while rest is not None:
        # The first place that matches, as in Rake: a backslash that escapes nothing makes it begin anew further on.
        argument, rest = next(_ARGUMENT.finditer(rest)).groups()
        arguments.append(_value(_TOKEN.findall(argument)))
    return arguments


def parse_task(text: str) -> tuple[str, list[str]]:
    """Return the task name and the arguments that Rake reads from one element of its command line."""
    name, bracket, rest = text.partition("[")
    if not (name and bracket and rest.endswith("]")):
        return text, []
    return name, parse_arguments(rest[:-1])


def task(name: str, arguments: t.Sequence[str] = ()) -> str:
    """Return the single element of the command line that runs task ``name`` with ``arguments``.

    No shell may read it; for people see :func:`shell_command`.

    :raises GitLabError: the name is none that Rake could find, or an argument cannot be carried.
    """
    if not _TASK_NAME.match(name):
        raise GitLabError(f"{name!r} is not the name of a Rake task.", "Give a name such as gitlab:db:active.")
    return f"{name}[{quote_arguments(arguments)}]" if arguments else name


def job_arguments_json(value: t.Sequence[t.Any]) -> str:
    """Return a batched background migration's C(job_arguments) as the JSON text that the finalize task parses.

    Pure ASCII: the text passes sudo, the environment of the wrapper script, process lists and logs, whose locale
    nobody knows, and C(\\u) escapes mean the same to every JSON parser. Newlines are escapes too, so Rake carries
    every value. GitLab compares C(jsonb), so that the order of keys and the absence of blanks are of no account.

    :raises GitLabError: not a list, or a value that no C(jsonb) column can hold.
    """
    if not isinstance(value, (list, tuple)):
        raise GitLabError(
            f"job_arguments must be a list, not {type(value).__name__}.",
            "Write it as a YAML list, for example [[id], [id_convert_to_bigint]], or [] when there are none.",
        )
    try:
        _refuse_what_jsonb_cannot_hold(value)
        return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as exc:
        raise GitLabError(
            f"job_arguments cannot be the value of a jsonb column: {exc}.",
            "Copy the list from the row of batched_background_migrations (module bbm_status shows it).",
        ) from exc


def shell_command(name: str, arguments: t.Sequence[str] = (), program: t.Sequence[str] = DEFAULT_PROGRAM) -> str:
    """Return the line that a person can paste into a shell to run the task.

    :raises GitLabError: as :func:`task`.
    """
    return " ".join(shlex.quote(word) for word in (*program, task(name, arguments)))


def _quote(argument: str) -> str:
    if not argument:
        raise GitLabError(
            "Rake cannot carry an empty argument: the task gets nil, as if it had not been given.", _RUNNER_HINT
        )
    _refuse_newline(argument)
    if "\0" in argument or not _is_unicode(argument):
        raise GitLabError(
            f"The argument {argument!r} holds a NUL or is no valid Unicode; no command line can carry it.", _RUNNER_HINT
        )
    first = len(argument) - len(argument.lstrip("".join(_BLANKS)))
    last = len(argument.rstrip("".join(_BLANKS)))
    return "".join(
        f"\\{char}" if char in "\\," or not first <= index < last else char for index, char in enumerate(argument)
    )


def _value(tokens: list[str]) -> str:
    while tokens and tokens[0] in _BLANKS:
        del tokens[0]
    while tokens and tokens[-1] in _BLANKS:
        del tokens[-1]
    return "".join(token[-1] for token in tokens)


def _refuse_newline(text: str) -> None:
    if "\n" in text:
        raise GitLabError(
            "Rake cannot carry an argument with a newline: it takes all of it for the name of a task.", _RUNNER_HINT
        )


def _refuse_what_jsonb_cannot_hold(value: t.Any) -> None:
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise ValueError(f"{value!r} holds a NUL or is no valid Unicode")
    elif isinstance(value, dict):
        for key, member in value.items():
            # json would turn the number 1 into the key "1" without a word.
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not a string")
            _refuse_what_jsonb_cannot_hold(key)
            _refuse_what_jsonb_cannot_hold(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _refuse_what_jsonb_cannot_hold(member)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
