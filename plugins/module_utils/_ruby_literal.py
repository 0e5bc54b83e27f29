# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What Ruby's C(inspect) prints for JSON-like values, as Python values.

GitLab's error texts show the configuration of a migration so; Ruby 3.4 changed how hashes look.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

# Real values are three levels deep; the limit keeps garbage from exhausting the stack.
_MAX_DEPTH = 50

_SPACE = re.compile(r"\s*", re.ASCII)
_WORD = re.compile(r"(nil|true|false)\b")
# The limit of digits keeps garbage from Python's own limit for conversions.
_NUMBER = re.compile(r"(-?[0-9]{1,400})(\.[0-9]{1,400}(?:e[-+]?[0-9]{1,3})?)?(?![\w.])", re.ASCII)
# To Ruby every character beyond ASCII is a letter.
_IDENTIFIER = r"[A-Za-z_\u0080-\U0010ffff][0-9A-Za-z_\u0080-\U0010ffff]*"
_SYMBOL = re.compile(rf":({_IDENTIFIER}(?:[?!]|=(?!>))?)")
_LABEL = re.compile(rf"({_IDENTIFIER}[?!]?):(?![:=])")
# A line break is printed as an escape, so a real one inside the quotes means that the text was re-wrapped.
_STRING = re.compile(r'"((?:[^"\\\n\r]|\\[^\n\r])*)"')
_ESCAPE = re.compile(
    r"(?P<bytes>(?:\\x[0-9A-Fa-f]{1,2})+)"
    r"|\\u(?:(?P<four>[0-9A-Fa-f]{4})|\{(?P<braces>[0-9A-Fa-f]{1,6})\})"
    r"|\\(?P<char>.)"
)
_WORDS: dict[str, t.Any] = {"nil": None, "true": True, "false": False}
_CHARS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "e": "\x1b",
    "a": "\a",
    "b": "\b",
    "v": "\v",
    "f": "\f",
    '"': '"',
    "\\": "\\",
    # A hash mark is escaped where {, $ or @ follows.
    "#": "#",
}


class RubyLiteralError(GitLabError):
    """The text is not what Ruby prints for a value of strings, symbols, numbers, nil, booleans, arrays and hashes."""


def parse_ruby_literal(text: str) -> t.Any:
    """Return the value of ``text``; symbols become strings, as in JSON.

    :raises RubyLiteralError: ``text`` is no such value, or something follows it.
    """
    reader = _Reader(text, 0)
    value = reader.value(_MAX_DEPTH)
    reader.take(_SPACE)
    if reader.position != len(text):
        raise _error("text after the value", text, reader.position)
    return value


def parse_ruby_literal_at(text: str, start: int) -> tuple[t.Any, int]:
    """Return the value that begins at index ``start`` of ``text``, and the index after it.

    :raises RubyLiteralError: no value begins there.
    """
    reader = _Reader(text, start)
    value = reader.value(_MAX_DEPTH)
    return value, reader.position


class _Reader:
    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position

    def value(self, depth: int) -> t.Any:
        self.take(_SPACE)
        if depth == 0:
            raise _error("deeper nesting than any real value has", self.text, self.position)
        if self.skip("["):
            return list(self.members("]", lambda: self.value(depth - 1)))
        if self.skip("{"):
            return dict(self.members("}", lambda: self.pair(depth - 1)))
        if self.text.startswith('"', self.position) or self.text.startswith(':"', self.position):
            self.skip(":")
            return self.string()
        for pattern, convert in _SCALARS:
            match = self.take(pattern)
            if match:
                return convert(match)
        raise _error("no value", self.text, self.position)

    def members(self, close: str, read: t.Callable[[], t.Any]) -> t.Iterator[t.Any]:
        self.take(_SPACE)
        if self.skip(close):
            return
        while True:
            yield read()
            self.take(_SPACE)
            if self.skip(close):
                return
            if not self.skip(","):
                raise _error(f"neither a comma nor {close}", self.text, self.position)

    def pair(self, depth: int) -> tuple[str, t.Any]:
        self.take(_SPACE)
        label = self.take(_LABEL)
        if label:
            return label.group(1), self.value(depth)
        start = self.position
        key = self.value(depth)
        if not isinstance(key, str):
            raise _error("a key that is neither string nor symbol", self.text, start)
        if self.text[start] == '"' and self.skip(":"):
            return key, self.value(depth)
        self.take(_SPACE)
        if not self.skip("=>"):
            raise _error("a key without =>", self.text, self.position)
        return key, self.value(depth)

    def string(self) -> str:
        match = self.take(_STRING)
        if not match:
            raise _error("an unfinished string", self.text, self.position)
        try:
            return _ESCAPE.sub(_unescape, match.group(1))
        except (KeyError, ValueError) as exc:
            raise _error(f"an unknown escape ({exc})", self.text, match.start()) from exc

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.position)
        if match:
            self.position = match.end()
        return match

    def skip(self, token: str) -> bool:
        found = self.text.startswith(token, self.position)
        if found:
            self.position += len(token)
        return found


def _number(match: re.Match[str]) -> int | float:
    if not match.group(2):
        return int(match.group(1))
    number = float(match.group())
    if number in (float("inf"), float("-inf")):
        raise _error("a number that no float can hold", match.string, match.start())
    return number


_SCALARS: tuple[tuple[re.Pattern[str], t.Callable[[re.Match[str]], t.Any]], ...] = (
    (_WORD, lambda match: _WORDS[match.group(1)]),
    (_NUMBER, _number),
    (_SYMBOL, lambda match: match.group(1)),
)


def _unescape(match: re.Match[str]) -> str:
    if match.group("bytes"):
        return bytes.fromhex(match.group("bytes").replace("\\x", "")).decode()
    codepoint = match.group("four") or match.group("braces")
    if codepoint:
        char = chr(int(codepoint, 16))
        char.encode()
        return char
    return _CHARS[match.group("char")]


def _error(found: str, text: str, position: int) -> RubyLiteralError:
    excerpt = text[position : position + 40]
    return RubyLiteralError(
        f"This is not a value as Ruby prints it: {found} at character {position}: {excerpt!r}.",
        "Copy it unchanged from the output of GitLab.",
    )
