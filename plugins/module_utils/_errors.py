# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import typing as t


class GitLabError(Exception):
    """Something that an operator must know about, in three parts.

    ``msg`` says what happened and what it means, ``remedy`` what to do next (an exact command or option).
    ``details`` are JSON-safe values that go into the module's result beside the message.
    """

    def __init__(self, msg: str, remedy: str | None = None, **details: t.Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.msg} {self.remedy}" if self.remedy else self.msg

    def to_result(self) -> dict[str, t.Any]:
        """Return the arguments for C(fail_json)."""
        result: dict[str, t.Any] = dict(self.details)
        result["msg"] = str(self)
        if self.remedy:
            result["remedy"] = self.remedy
        return result
